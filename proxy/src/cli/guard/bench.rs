//! `portcullis guard bench`: what a model costs on this machine.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use portcullis_guard_model::eval::{
    load::{Served, served},
    speed::{self, Latency, Samples, Throughput},
    table::table,
};
use portcullis_guard_model::{Place, Serving, Source, memory};
use serde::Serialize;

use super::bars::bar;
use super::device::Device;
use crate::cli::{say, say_text};

/// Lengths of a single window, in tokens.
const LATENCY_TOKENS: [usize; 4] = [8, 32, 64, 128];
/// Lengths of the windows of a batch, in tokens; the longest is also that of the texts under load.
const BATCH_TOKENS: [usize; 2] = [35, 128];
/// Windows at once on a CPU.
const BATCHES_CPU: [usize; 3] = [1, 8, 32];
/// Windows at once on a GPU.
const BATCHES_GPU: [usize; 5] = [1, 8, 32, 128, 512];
/// Most windows at once that may be asked for.
const BATCH_MAX: usize = 4096;
/// Tokens of the gateway's batches under load on a GPU, as the documentation has it; on a CPU they are the default.
const GPU_BATCH_TOKENS: usize = 16_384;
/// Different texts under load; nothing is answered from the cache.
const TEXTS: usize = 1000;

/// Measure what a model costs.
#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    #[command(flatten)]
    device: Device,
    /// Seconds that each figure is measured for, at least
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// Windows given at once, separated by commas [default: 1,8,32; on a GPU 1,8,32,128,512]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    batches: Vec<usize>,
    /// Write the windows that were compared alone and together, with their scores: JSON lines {"ids","scores"}
    #[arg(long, value_name = "FILE")]
    windows: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Figures {
    model: String,
    device: String,
    latency: Vec<Latency>,
    throughput: Vec<Throughput>,
    /// Bytes of this process after the batches.
    resident_bytes: Option<u64>,
    /// Between a probability of a window alone and among others, at most.
    apart: f32,
    /// Texts through the batcher at half the throughput of windows of this many tokens.
    half_load_tokens: usize,
    half_load: Served,
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        ensure!((0.01..=600.0).contains(&self.seconds), "--seconds must be from 0.01 to 600");
        ensure!(self.batches.iter().all(|batch| (1..=BATCH_MAX).contains(batch)), "--batches must be from 1 to {BATCH_MAX}");
        let figures = self.measure()?;
        if self.json {
            say(serde_json::to_string(&figures)?)?
        } else {
            say_text(&figures.markdown())?
        }
        Ok(ExitCode::SUCCESS)
    }

    fn measure(&self) -> anyhow::Result<Figures> {
        let (place, time) = (self.device.place(), Duration::from_secs_f64(self.seconds));
        let (name, tokenizer, mut network) = self.device.open()?.into_parts();
        let mut samples = Samples::new(&tokenizer)?;
        let fitting = |lengths: &[usize]| -> Vec<usize> {
            let mut fit: Vec<usize> = lengths.iter().map(|tokens| (*tokens).min(samples.window_tokens_max())).collect();
            fit.dedup();
            fit
        };
        let (singles, lengths) = (fitting(&LATENCY_TOKENS), fitting(&BATCH_TOKENS));
        let batches: Vec<usize> = if self.batches.is_empty() { usual(place).to_vec() } else { self.batches.clone() };
        let points: Vec<(usize, usize)> = lengths.iter().flat_map(|tokens| batches.iter().map(|batch| (*batch, *tokens))).collect();

        let bar = bar((singles.len() + points.len() + 2) as u64, "measuring [{bar:40}] {pos} of {len} figures");
        let (mut latency, mut throughput) = (Vec::new(), Vec::new());
        for tokens in singles {
            latency.push(speed::latency(&mut *network, &mut samples, tokens, time)?);
            bar.inc(1);
        }
        for point in points {
            throughput.push(speed::throughput(&mut *network, &mut samples, point, time)?);
            bar.inc(1);
        }
        let resident_bytes = memory::resident_bytes();
        let (apart, windows) = speed::agreement(&mut *network, &mut samples)?;
        bar.inc(1);
        if let Some(path) = &self.windows {
            let lines = windows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?.join("\n") + "\n";
            std::fs::write(path, lines).with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        drop(network);
        let half_load_tokens = *lengths.last().context("there is no length to measure")?;
        let of_that_length = throughput.iter().filter(|point| point.tokens == half_load_tokens);
        let most = of_that_length.map(|point| point.windows_per_s).fold(0.0, f64::max);
        let texts: Vec<String> = (0..TEXTS).map(|_| samples.text(half_load_tokens)).collect();
        let half_load = served(Source::open(&self.device.model, place)?, serving(place), &texts, most / 2.0, time)?;
        bar.finish_and_clear();
        let device = self.device.words();
        Ok(Figures { model: name, device, latency, throughput, resident_bytes, apart, half_load_tokens, half_load })
    }
}

fn usual(place: Place) -> &'static [usize] {
    match place {
        Place::Cpu(_) => &BATCHES_CPU,
        Place::Gpu(_) => &BATCHES_GPU,
    }
}

/// As the gateway serves, without its cache.
fn serving(place: Place) -> Serving {
    let default = Serving::default();
    let batch_tokens_max = match place {
        Place::Cpu(_) => default.batch_tokens_max,
        Place::Gpu(_) => GPU_BATCH_TOKENS,
    };
    Serving { cache_windows_max: 0, batch_tokens_max, ..default }
}

impl Figures {
    fn markdown(&self) -> String {
        let Self { model, device, latency, throughput, resident_bytes, apart, half_load_tokens, half_load } = self;
        let head = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut text = format!("Model {model} on {device}.\n\n");
        let rows = latency
            .iter()
            .map(|one| vec![one.tokens.to_string(), format!("{:.2}", one.p50_ms), format!("{:.2}", one.p99_ms), one.runs.to_string()]);
        text.push_str(&table(&head(&["tokens of one window", "p50 ms", "p99 ms", "runs"]), &rows.collect::<Vec<_>>()));
        let rows = throughput
            .iter()
            .map(|one| vec![one.batch.to_string(), one.tokens.to_string(), format!("{:.0}", one.windows_per_s), one.runs.to_string()]);
        let rows: Vec<_> = rows.collect();
        let _ = write!(text, "\n{}", table(&head(&["windows at once", "tokens of each", "windows/s", "runs"]), &rows));
        let Served { per_s, requests, unavailable, p50_ms, p99_ms } = half_load;
        let row = vec![
            format!("{per_s:.1}"),
            half_load_tokens.to_string(),
            format!("{p50_ms:.2}"),
            format!("{p99_ms:.2}"),
            unavailable.to_string(),
            requests.to_string(),
        ];
        let names = ["requests/s, half of the most", "tokens of each", "p50 ms", "p99 ms", "unavailable", "requests"];
        let _ = write!(text, "\n{}", table(&head(&names), &[row]));
        let _ = write!(text, "\nA probability of a window alone and among others: at most {apart:.1e} apart.");
        if let Some(bytes) = resident_bytes {
            let _ = write!(text, " Resident memory: {} MiB.", bytes >> 20);
        }
        text.push('\n');
        text
    }
}
