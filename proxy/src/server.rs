//! Putting the gate together and running it: listeners, services, signals.
//!
//! SIGTERM stops gracefully (running requests get the shutdown time), SIGINT at once, SIGHUP has the files read again.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::os::fd::IntoRawFd as _;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use governor::{Quota, RateLimiter};
use pingora::apps::{HttpServerApp, HttpServerOptions};
use pingora::listeners::tls::TlsSettings;
use pingora::server::configuration::ServerConf;
use pingora::server::{ListenFds, RunArgs, Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;
use pingora::services::{Service as ServiceTrait, ServiceWithDependents};
use portcullis_audit::alert::{Alerts, Channel, Topic};
use portcullis_audit::ship::{News, Shipper};
use portcullis_audit::{AuditError, Signing, SigningKey, Store};

use crate::admin::Admin;
use crate::changes;
use crate::config::{Settings, Timeouts, UpstreamPlace};
use crate::echo::Echo;
use crate::gate::{Gate, callers};
use crate::guard::{self, Guard};
use crate::keys::KeyFile;
use crate::limit::{Budget, Strangers};
use crate::load::load_policy;
use crate::metrics::Metrics;
use crate::reload::{self, Reload};
use crate::rollout::{Canary, Held, Policies, Rollout, Track};
use crate::unrecorded::{self, Unrecorded};
use crate::upstream::Upstream;
use crate::vault::Vault;

/// Most warnings of failing upstreams and guards per second.
const WARNINGS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
/// How often a stopping gateway looks whether it is idle, and how often in a row it must be: a request may stand between its
/// connection's acceptance and its first count.
const DRAIN_INTERVAL: Duration = Duration::from_millis(25);
const DRAIN_IDLE_LOOKS: u32 = 3;
/// How long a stopping gateway waits for alerts that are on their way.
const ALERTS_PATIENCE: Duration = Duration::from_secs(3);

/// Loads all policies and runs the tests they carry.
///
/// # Errors
/// The first file that does not load, or the tests that fail.
pub fn load_policies(settings: &Settings) -> anyhow::Result<Policies> {
    let load = |name: &str, track: Track, path: &Path| {
        let word = if track == Track::Canary { ", its canary" } else { "" };
        let policy = load_policy(path, &mut Vec::new()).with_context(|| format!("policy `{name}`{word}"))?;
        Ok::<_, anyhow::Error>(Held::new(name, track, policy))
    };
    let mut policies = Policies::new();
    for (name, policy) in &settings.policies {
        let stable = load(name, Track::Stable, &policy.path)?;
        let canary = match &policy.canary {
            None => None,
            Some(canary) => {
                let held = load(name, Track::Canary, &canary.path)?;
                Some(Canary { held, percent: canary.percent, rollback: canary.rollback })
            }
        };
        policies.insert(name.clone(), Rollout { stable, canary });
    }
    Ok(policies)
}

/// What has to be right before anything is bound; `check` asks the same.
pub struct Checked {
    /// All policies.
    pub policies: Policies,
    /// The key file.
    pub keys: KeyFile,
    /// Where alerts go.
    pub channels: Vec<Channel>,
}

/// Loads and checks all that a start needs and that needs no port.
///
/// # Errors
/// Names the file or the setting, and what to do.
pub fn preflight(settings: &Settings) -> anyhow::Result<Checked> {
    if settings.listen == settings.admin && settings.listen.port() != 0 {
        return Err(anyhow!("listen and admin are both {}; give them different ports", settings.listen));
    }
    if let Some(tls) = &settings.tls {
        crate::tls::check(tls)?;
    }
    for upstream in &settings.upstreams {
        if let Some(ca) = &upstream.ca {
            crate::tls::certificates(ca).with_context(|| format!("upstreams.{}.ca", upstream.name))?;
        }
    }
    if let Some(ca) = settings.clickhouse.as_ref().and_then(|clickhouse| clickhouse.ca_file.as_ref()) {
        crate::tls::certificates(ca).context("audit.clickhouse.ca_file")?;
    }
    if settings.audit_path.is_dir() {
        return Err(anyhow!("audit.path: {} is a folder; name a file in it", settings.audit_path.display()));
    }
    if let Signing::File(path) = &settings.audit_store.signing
        && path.exists()
    {
        SigningKey::load(path)?;
    }
    let channels = settings.alerts.iter().cloned().map(Channel::new).collect::<Result<_, AuditError>>()?;
    let policies = load_policies(settings)?;
    let keys = KeyFile::load(&settings.keys)?;
    if let Some((key, policy)) = stray(&keys, &policies) {
        let known: Vec<&str> = policies.keys().map(String::as_str).collect();
        return Err(anyhow!(
            "{}: key {key}: there is no policy named `{policy}`; there are: {}",
            settings.keys.display(),
            known.join(", ")
        ));
    }
    Ok(Checked { policies, keys, channels })
}

/// The first valid key that names a policy that does not exist.
pub(crate) fn stray(file: &KeyFile, policies: &Policies) -> Option<(String, String)> {
    let valid = file.keys.iter().filter(|key| !key.revoked);
    let mut named = valid.flat_map(|key| key.policies().map(move |policy| (key, policy)));
    let (key, policy) = named.find(|(_, policy)| !policies.contains_key(*policy))?;
    Some((key.id.clone(), policy.escape_debug().to_string()))
}

/// A listener that is bound before anything else starts, so that a taken port is a plain error and port 0 has an answer.
struct Bound {
    address: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}; is another process using it?"))?;
        listener.set_nonblocking(true)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }
}

/// A service whose listeners are already bound: hands their descriptors to the framework as it does for an upgrade.
struct Prebound<A> {
    service: Service<A>,
    bound: Option<Bound>,
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServiceTrait for Prebound<A> {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, listeners_per_fd: usize) {
        if let (Some(bound), Some(fds)) = (self.bound.take(), &fds) {
            fds.lock().add(bound.address.to_string(), bound.listener.into_raw_fd());
        }
        ServiceTrait::start_service(&mut self.service, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        ServiceTrait::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        ServiceTrait::threads(&self.service)
    }
}

/// A service of `app` on a bound TCP listener, with TLS when a certificate is given.
fn listen<A: HttpServerApp + Send + Sync + 'static>(
    name: &str,
    app: A,
    bound: Bound,
    tls: Option<TlsSettings>,
    threads: usize,
) -> Prebound<A> {
    let mut service = Service::new(name.to_owned(), app);
    let address = bound.address.to_string();
    match tls {
        Some(tls) => service.add_tls_with_settings(&address, None, tls),
        None => service.add_tcp(&address),
    }
    service.threads = Some(threads);
    Prebound { service, bound: Some(bound) }
}

/// The gateway, ready to run.
pub struct Gateway {
    server: Server,
    store: Store,
    shipper: Option<Shipper>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Loads, binds and opens everything; nothing is served yet.
    ///
    /// # Errors
    /// Whatever stops a start: a broken policy, pack or key file, a taken port, a store that another gateway has.
    pub fn build(settings: Settings) -> anyhow::Result<Self> {
        // From here on SIGHUP is a word and no longer the end of the process.
        let hangup = reload::hangup()?;
        let watched = reload::Watched::new(&settings);
        let guard_files = guard::Files::new(&settings.guard);
        let Checked { policies, keys, channels } = preflight(&settings)?;
        let metrics = Arc::new(Metrics::new()?);
        let guard = Guard::start(&settings.guard, guard_metrics(&metrics))?.map(Arc::new);
        let table = callers(&keys, &policies, None);
        let threads = settings.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
        let listen_on = Bound::bind(settings.listen)?;
        let admin_on = Bound::bind(settings.admin)?;
        let echo_on = settings
            .upstreams
            .iter()
            .any(|upstream| upstream.place == UpstreamPlace::Echo)
            .then(|| Bound::bind(SocketAddr::from(([127, 0, 0, 1], 0))))
            .transpose()?;
        let tls = settings.tls.as_ref().map(tls_settings).transpose()?;
        if let Some(folder) = settings.audit_path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder of the audit store, {}", folder.display()))?;
        }
        let store = Store::open(&settings.audit_path, settings.audit_store).context("the audit store")?;
        if let Some(key) = store.public_key() {
            // For operators to keep elsewhere: checkpoints count only with this key's signature.
            tracing::info!(%key, store = store.store_id(), "audit checkpoints are signed");
        }
        let told_of = store.clone();
        let told = move |news| match news {
            News::Delivered(seq) => told_of.delivered(seq),
            News::Stalled(class) => told_of.raise(Topic::ClickhouseBacklog, class),
        };
        let shipper = settings.clickhouse.map(|clickhouse| Shipper::start(store.path(), clickhouse, told)).transpose();
        let shipper = shipper.context("audit.clickhouse")?;
        let alerts = if channels.is_empty() { None } else { Some(Alerts::start(&store, channels)?) };
        let echo_address = echo_on.as_ref().map(|bound| bound.address);
        let upstreams = settings.upstreams.iter().filter_map(|upstream| Upstream::new(upstream, echo_address)).map(Arc::new).collect();
        for (name, rollout) in &policies {
            for held in [Track::Stable, Track::Canary].into_iter().filter_map(|track| rollout.on(track)) {
                metrics.policy_in_force(name, held.tally.track.as_str(), None, held.policy.version());
            }
        }
        changes::record_start(&store, &policies);
        let (listen_address, admin_address) = (listen_on.address, admin_on.address);
        let gate = Arc::new(Gate {
            callers: RwLock::new(Arc::new(table)),
            upstreams,
            models: settings.models,
            guard,
            store: store.clone(),
            alerts,
            durability: settings.durability,
            on_failure: settings.on_audit_failure,
            unrecorded: Unrecorded::default(),
            vault: Vault::new(settings.vault, Arc::clone(&metrics)).context("the keys of the vault")?,
            metrics,
            memory: Budget::new(settings.limits.memory_bytes),
            connections: Budget::new(settings.limits.connections),
            warnings: RateLimiter::direct(Quota::per_second(WARNINGS_PER_SECOND)),
            strangers: Strangers::default(),
            http: http_options(&settings.timeouts),
            limits: settings.limits,
            timeouts: settings.timeouts.clone(),
        });

        let mut server = Server::new_with_opt_and_conf(None, conf(&settings.timeouts.shutdown, threads));
        server.bootstrap();
        server.add_service(listen("gateway", Shared(Arc::clone(&gate)), listen_on, tls, threads));
        server.add_service(listen("admin", Admin { gate: Arc::clone(&gate), shipper: shipper.clone() }, admin_on, None, 1));
        if let Some(bound) = echo_on {
            server.add_service(listen("echo", Echo, bound, None, 1));
        }
        let drain = Drain { gate: Arc::clone(&gate), shipper: shipper.clone(), patience: settings.timeouts.shutdown };
        server.add_service(background_service("drain", drain));
        if guard_files.is_some() {
            // A flag of its own: each of the two loops has to hear every signal.
            let watching = guard::Watching { gate: Arc::clone(&gate), files: guard_files, hangup: reload::hangup()? };
            server.add_service(background_service("guard", watching));
        }
        server.add_service(background_service("reload", Reload { gate, policies, watched, hangup }));
        Ok(Self { server, store, shipper, listen: listen_address, admin: admin_address })
    }

    /// Serves until a signal says stop, then lets running requests end and closes the audit store.
    ///
    /// # Errors
    /// When the audit store cannot be closed cleanly.
    pub fn run(self) -> anyhow::Result<()> {
        self.server.run(RunArgs::default());
        self.store.close().context("closing the audit store")?;
        if let Some(shipper) = self.shipper {
            shipper.stop();
        }
        Ok(())
    }
}

/// [`Gate`] as the framework wants to own it.
struct Shared(Arc<Gate>);

#[async_trait]
impl HttpServerApp for Shared {
    async fn process_new_http(
        self: &Arc<Self>,
        session: pingora::protocols::http::ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<pingora::apps::ReusedHttpStream> {
        self.0.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<pingora::protocols::http::v2::server::H2Options> {
        self.0.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.0.http)
    }
}

/// Passes on what a guard model tells.
fn guard_metrics(metrics: &Arc<Metrics>) -> guard::Told {
    let metrics = Arc::clone(metrics);
    Arc::new(move |news| metrics.guard_told(&news))
}

fn http_options(timeouts: &Timeouts) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(timeouts.keep_alive);
    options
}

fn tls_settings(tls: &crate::config::Tls) -> anyhow::Result<TlsSettings> {
    let mut settings = TlsSettings::intermediate(&tls.certificate.to_string_lossy(), &tls.key.to_string_lossy())
        .map_err(|e| anyhow!("tls: {} and {} are no usable pair: {e}", tls.certificate.display(), tls.key.display()))?;
    settings.enable_h2();
    Ok(settings)
}

fn conf(shutdown: &Duration, threads: usize) -> ServerConf {
    ServerConf {
        threads,
        work_stealing: true,
        // After SIGTERM the framework sleeps this long and then drops what still runs. `Drain` ends the process earlier, as soon as
        // nothing runs any more.
        grace_period_seconds: Some(shutdown.as_secs().max(1)),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

/// Ends the process when it was told to stop and the last running request has ended.
struct Drain {
    gate: Arc<Gate>,
    shipper: Option<Shipper>,
    patience: Duration,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        while !*shutdown.borrow() {
            if shutdown.changed().await.is_err() {
                return;
            }
        }
        tracing::info!(running = self.gate.metrics.in_flight.get(), "stopping: no new connections, running requests go on");
        let deadline = Instant::now() + self.patience;
        let mut idle = 0;
        while idle < DRAIN_IDLE_LOOKS && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_INTERVAL).await;
            idle = if self.gate.metrics.in_flight.get() == 0 { idle + 1 } else { 0 };
        }
        if let Some(alerts) = &self.gate.alerts {
            alerts.settle(ALERTS_PATIENCE).await;
        }
        unrecorded::tell(&self.gate).await;
        let closed = self.gate.store.clone().close();
        // After the last event is in the store.
        if let Some(shipper) = &self.shipper {
            shipper.stop();
        }
        match closed {
            Ok(()) => tracing::info!("stopped"),
            Err(error) => tracing::error!(%error, "stopped, but the audit store could not be closed cleanly"),
        }
        std::process::exit(0);
    }
}

const _: fn() = || {
    fn needs<T: ServiceWithDependents>() {}
    needs::<Prebound<Echo>>();
};
