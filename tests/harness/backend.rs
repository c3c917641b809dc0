//! A scripted OpenAI-compatible backend on a port of its own: it records what it receives and answers byte by byte as told.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::canned;
use crate::recorded::{Recorded, read_request};
use crate::script::{Script, Step};
use crate::wait::soon;

/// Bytes a peer may send while a script runs (a pipelined request); more is left in the socket.
const EARLY_BYTES_MAX: usize = 1 << 20;

/// What happens to a connection before any request is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Welcome {
    /// Requests are read and answered.
    #[default]
    Serve,
    /// Accepted and closed.
    Close,
    /// Accepted and reset.
    Reset,
}

/// The running backend; dropping it closes every connection.
pub struct Backend {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    inner: Mutex<Inner>,
    changed: Notify,
}

/// Chooses the answer to a request.
type Responder = Box<dyn Fn(&Recorded) -> Script + Send>;

struct Inner {
    welcome: Welcome,
    record: bool,
    next: VecDeque<Script>,
    otherwise: Responder,
    requests: Vec<Recorded>,
    connections: usize,
    closed: BTreeMap<usize, Instant>,
}

impl Backend {
    /// Starts on a free port of 127.0.0.1; answers with something that fits until told otherwise.
    pub async fn start() -> Self {
        Self::start_with(true).await
    }

    /// The same without a record of the requests, for load.
    pub async fn start_unrecorded() -> Self {
        Self::start_with(false).await
    }

    async fn start_with(record: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let inner = Inner {
            welcome: Welcome::Serve,
            record,
            next: VecDeque::new(),
            otherwise: Box::new(canned::answer),
            requests: Vec::new(),
            connections: 0,
            closed: BTreeMap::new(),
        };
        let state = Arc::new(State { inner: Mutex::new(inner), changed: Notify::new() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers every request with `script`.
    pub fn always(&self, script: Script) {
        self.responds(move |_| script.clone());
    }

    /// From now on answers every request with something that fits it.
    pub fn always_canned(&self) {
        self.responds(canned::answer);
    }

    /// From now on answers every request as `respond` chooses.
    pub fn responds(&self, respond: impl Fn(&Recorded) -> Script + Send + 'static) {
        self.state.lock().otherwise = Box::new(respond);
    }

    /// Answers the next request that no earlier call claims with `script`.
    pub fn once(&self, script: Script) {
        self.state.lock().next.push_back(script);
    }

    /// Forgets the scripts given to [`Backend::once`] that no request has claimed.
    pub fn drop_unclaimed(&self) {
        self.state.lock().next.clear();
    }

    /// From now on treats new connections so.
    pub fn welcome(&self, welcome: Welcome) {
        self.state.lock().welcome = welcome;
    }

    /// Every request received so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.lock().requests.clone()
    }

    /// How many requests have been received.
    pub fn request_count(&self) -> usize {
        self.state.lock().requests.len()
    }

    /// How many connections have been accepted.
    pub fn connection_count(&self) -> usize {
        self.state.lock().connections
    }

    /// Forgets the requests received.
    pub fn forget(&self) {
        self.state.lock().requests.clear();
    }

    /// The latest request; the test fails when there is none.
    pub fn last_request(&self) -> Recorded {
        self.state.lock().requests.last().cloned().expect("the backend received a request")
    }

    /// Waits until `count` requests have been received in all, and returns the last of these.
    pub async fn request(&self, count: usize) -> Recorded {
        self.until(&format!("request {count} at the backend"), |inner| inner.requests.get(count - 1).cloned()).await
    }

    /// Waits until the peer has closed the connection on which `request` came, and says when.
    pub async fn closed(&self, request: &Recorded) -> Instant {
        self.until("the gateway to close its upstream connection", |inner| inner.closed.get(&request.connection).copied()).await
    }

    /// Whether the peer has closed the connection on which `request` came.
    pub fn is_closed(&self, request: &Recorded) -> bool {
        self.state.lock().closed.contains_key(&request.connection)
    }

    async fn until<T>(&self, what: &str, look: impl Fn(&Inner) -> Option<T>) -> T {
        soon(what, async {
            loop {
                let changed = self.state.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = look(&self.state.lock()) {
                    return found;
                }
                changed.await;
            }
        })
        .await
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script_for(&self, request: Recorded) -> Script {
        let mut inner = self.lock();
        let script = inner.next.pop_front().unwrap_or_else(|| (inner.otherwise)(&request));
        if inner.record {
            inner.requests.push(request);
        }
        drop(inner);
        self.changed.notify_waiters();
        script
    }

    fn note_closed(&self, connection: usize) {
        self.lock().closed.insert(connection, Instant::now());
        self.changed.notify_waiters();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (index, welcome) = {
                    let mut inner = state.lock();
                    inner.connections += 1;
                    (inner.connections - 1, inner.welcome)
                };
                match welcome {
                    Welcome::Serve => drop(connections.spawn(serve(stream, index, Arc::clone(&state)))),
                    Welcome::Close => drop(stream),
                    Welcome::Reset => reset(&stream),
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// How a script ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Open,
    Close,
    Reset,
    PeerGone,
}

async fn serve(stream: TcpStream, connection: usize, state: Arc<State>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut reader, &mut buffer, connection).await {
        let script = state.script_for(request);
        let ending = tokio::select! {
            ending = play(script, &mut writer) => ending,
            () = peer_gone(&mut reader, &mut buffer) => Ending::PeerGone,
        };
        match ending {
            Ending::Open => {}
            Ending::Close => return,
            Ending::Reset => {
                reset(writer.as_ref());
                // Dropped in the usual way the half would send a FIN first.
                writer.forget();
                return;
            }
            Ending::PeerGone => break,
        }
    }
    state.note_closed(connection);
}

async fn play(script: Script, writer: &mut OwnedWriteHalf) -> Ending {
    for step in script.steps {
        match step {
            Step::Write(bytes) => {
                if writer.write_all(&bytes).await.is_err() {
                    return Ending::PeerGone;
                }
                // Gives the reader on the other side a turn, so that a small write mostly arrives alone.
                tokio::task::yield_now().await;
            }
            Step::Wait(gate) => gate.passed().await,
            Step::Think(time) => tokio::time::sleep(time).await,
            Step::Hang => std::future::pending().await,
            Step::Close => return Ending::Close,
            Step::Reset => return Ending::Reset,
        }
    }
    Ending::Open
}

async fn peer_gone(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>) {
    while buffer.len() < EARLY_BYTES_MAX {
        match reader.read_buf(buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
    std::future::pending().await
}

fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("a socket takes SO_LINGER");
}
