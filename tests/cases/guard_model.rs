//! The commands of the guard model, from a sentence encoder to scores, with a network of a few thousand parameters made here.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::fmt::Write as _;
use std::path::Path;

use harness::{Ran, TinyModel, run};
use serde_json::{Map, Value, json};

const WORDS: [&str; 14] =
    ["the", "a", "report", "garden", "please", "tell", "about", "rain", "music", "river", "ignore", "override", "pretend", "uncensored"];

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() * end as f64) as usize
    }
}

/// A sentence encoder in Hugging Face's layout: two layers, sixteen wide.
fn encoder(dir: &Path) {
    std::fs::create_dir_all(dir).expect("a folder");
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let vocabulary: Map<String, Value> =
        special.iter().chain(&WORDS).enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let size = vocabulary.len();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null, "decoder": null,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": vocabulary},
    });
    let config = json!({
        "model_type": "bert", "vocab_size": size, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 64, "guard": {"window_tokens": 32, "overlap_tokens": 8},
    });
    let (mut tensors, mut numbers) = (Vec::new(), Numbers(1));
    let mut add = |name: String, shape: &[usize], spread: f64, middle: f64| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| (middle + spread * (numbers.next() - 0.5)) as f32).collect();
        tensors.push((name, shape.to_vec(), values));
    };
    add("embeddings.word_embeddings.weight".into(), &[size, 16], 1.6, 0.0);
    add("embeddings.position_embeddings.weight".into(), &[64, 16], 0.1, 0.0);
    add("embeddings.token_type_embeddings.weight".into(), &[2, 16], 0.1, 0.0);
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for n in 0..2 {
        for (part, from, to) in [
            ("attention.self.query", 16, 16),
            ("attention.self.key", 16, 16),
            ("attention.self.value", 16, 16),
            ("attention.output.dense", 16, 16),
            ("intermediate.dense", 16, 32),
            ("output.dense", 32, 16),
        ] {
            add(format!("encoder.layer.{n}.{part}.weight"), &[to, from], 0.5, 0.0);
            add(format!("encoder.layer.{n}.{part}.bias"), &[to], 0.0, 0.0);
        }
        norms.extend(["attention.output.LayerNorm", "output.LayerNorm"].map(|part| format!("encoder.layer.{n}.{part}")));
    }
    for norm in norms {
        add(format!("{norm}.weight"), &[16], 0.0, 1.0);
        add(format!("{norm}.bias"), &[16], 0.0, 0.0);
    }
    std::fs::write(dir.join("config.json"), config.to_string()).expect("a file");
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).expect("a file");
    std::fs::write(dir.join("model.safetensors"), safetensors(&tensors)).expect("a file");
}

/// The format: the header's length in eight bytes, the header, the numbers.
fn safetensors(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let (mut header, mut numbers) = (Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = numbers.len();
        values.iter().for_each(|value| numbers.extend_from_slice(&value.to_le_bytes()));
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, numbers.len()]}));
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &numbers].concat()
}

/// A file of rows for each source: two words of each attack say what it is.
fn rows(dir: &Path, count: usize, seed: u64) {
    std::fs::create_dir_all(dir).expect("a folder");
    let mut numbers = Numbers(seed);
    for (source, label, triggers) in [
        ("plain", "benign", &[][..]),
        ("injections", "injection", &["ignore", "override"][..]),
        ("jailbreaks", "jailbreak", &["pretend", "uncensored"][..]),
    ] {
        let mut text = String::new();
        for n in 0..count {
            let mut words: Vec<&str> = (0..4 + numbers.below(8)).map(|_| WORDS[numbers.below(10)]).collect();
            triggers.iter().for_each(|word| words.insert(numbers.below(words.len() + 1), word));
            let (lang, kind) = (["en", "zh"][n % 2], ["short", "long"][n / 2 % 2]);
            let line = json!({"text": words.join(" "), "label": label, "lang": lang, "kind": kind});
            writeln!(text, "{line}").expect("a string");
        }
        std::fs::write(dir.join(format!("{source}.jsonl")), text).expect("a file");
    }
}

async fn guard(folder: &Path, arguments: &str, stdin: &str) -> Ran {
    let words: Vec<&str> = std::iter::once("guard").chain(arguments.split_whitespace()).collect();
    run(folder, &words, stdin).await
}

async fn done(folder: &Path, arguments: &str) -> Ran {
    let ran = guard(folder, arguments, "").await;
    assert_eq!(ran.code, Some(0), "{arguments}: {ran:?}");
    ran
}

const LEARN: &str = "--epochs 6 --rate 0.005 --batch-tokens 256 --steps-between 20";

/// A folder with an encoder, rows, rows held out, and first weights.
async fn begun() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a temporary folder");
    encoder(&place.path().join("encoder"));
    rows(&place.path().join("rows"), 130, 1);
    rows(&place.path().join("held"), 60, 2);
    let made = done(place.path(), "init --from encoder --data rows held --layers 1 --pieces 50 --version tiny-1 --out first").await;
    assert!(made.stdout.contains("characters/token") && made.stdout.contains("zh "), "{made:?}");
    place
}

#[tokio::test]
async fn a_model_is_made_trained_measured_and_used_by_commands_alone() {
    let place = begun().await;
    let at = place.path();
    let trained =
        done(at, &format!("train --model first --data rows --held-data held --out trained --version tiny-2 --bytes {LEARN}")).await;
    assert!(trained.stdout.contains("180 rows held out"), "{trained:?}");
    assert!(trained.stderr.contains("held-out AUC"), "lines where no terminal is: {trained:?}");

    std::fs::write(at.join("CARD.md"), "# Card\n\n<!-- eval:begin -->\nold\n<!-- eval:end -->\n\nLimits.\n").expect("a file");
    let measured = done(at, "eval --model trained --data held --card CARD.md --plots plots --json").await;
    let report: Value = serde_json::from_str(&measured.stdout).expect("JSON");
    assert!(report["all"]["auc"].as_f64().is_some_and(|auc| auc > 0.95), "{report}");
    assert_eq!((report["all"]["attacks"].as_u64(), report["all"]["benign"].as_u64()), (Some(120), Some(60)));
    assert!(report["model"].as_str().is_some_and(|model| model.starts_with("tiny-2+")), "{report}");
    let card = std::fs::read_to_string(at.join("CARD.md")).expect("the card");
    assert!(card.starts_with("# Card\n") && card.ends_with("\n\nLimits.\n") && !card.contains("\nold\n"), "{card}");
    assert!(card.contains("| injections ") && card.contains("### By language"), "{card}");
    for plot in ["roc.svg", "calibration.svg"] {
        assert!(std::fs::read_to_string(at.join("plots").join(plot)).is_ok_and(|plot| plot.starts_with("<svg")), "{plot}");
    }

    let texts = "{\"id\": 7, \"text\": \"tell about the garden please\"}\n\n{\"id\": \"b\", \"text\": \"the river ignore rain override\", \"role\": \"tool\"}\n";
    let scored = guard(at, "score --model trained", texts).await;
    assert_eq!(scored.code, Some(0), "{scored:?}");
    let lines: Vec<Value> = scored.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        (&lines[0]["id"], &lines[0]["label"], &lines[1]["id"], &lines[1]["label"]),
        (&json!(7), &json!("benign"), &json!("b"), &json!("injection"))
    );
    for line in &lines {
        let part = |name: &str| line["scores"][name].as_f64().expect("a number");
        assert!((part("benign") + part("injection") + part("jailbreak") - 1.0).abs() < 1e-4, "{line}");
        assert!((1.0 - part("benign") - line["score"].as_f64().expect("a number")).abs() < 1e-4, "{line}");
    }
}

#[tokio::test]
async fn a_run_goes_on_with_the_same_options_and_is_refused_with_others() {
    let place = begun().await;
    let at = place.path();
    let order = format!("train --model first --data rows --held-out jailbreaks --held-data held --out trained --json {LEARN}");
    let first: Value = serde_json::from_str(&done(at, &order).await.stdout).expect("JSON");
    let weights = || std::fs::read(at.join("trained/model.safetensors")).expect("weights");
    let before = weights();
    let again = done(at, &order).await;
    let second: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!((&first["steps"], &first["held"]), (&second["steps"], &second["held"]));
    assert_eq!(before, weights());
    let other = guard(at, &format!("{order} --seed 5"), "").await;
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("checkpoint") && other.stderr.contains("another --out"), "{other:?}");
    let unknown = guard(at, "train --model first --data rows --held-out nowhere --out x", "").await;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("injections, jailbreaks, plain"), "{unknown:?}");
}

#[tokio::test]
async fn methods_are_compared_on_the_same_rows_and_an_advice_quotes_them() {
    let place = begun().await;
    let at = place.path();
    let options = "--data rows --held-data held --methods lora,adapter,head --steps 12 --rate 0.005 --batch-tokens 256";
    let ran = done(at, &format!("compare --model first {options} --out compared")).await;
    for part in ["| lora ", "| adapter ", "| head ", "MiB", "180 rows held out"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    let text = std::fs::read_to_string(at.join("compared/comparison.json")).expect("the figures");
    let figures: Value = serde_json::from_str(&text).expect("JSON");
    let trained: Vec<u64> = figures["outcomes"].as_array().expect("a list").iter().filter_map(|one| one["trained"].as_u64()).collect();
    assert!(trained.len() == 3 && trained[0] > trained[2] && trained[2] > 0, "{figures}");
    assert!(std::fs::read_to_string(at.join("compared/comparison.svg")).is_ok_and(|plot| plot.contains("adapter")));

    let advice = done(at, "advise rows --comparison compared/comparison.json").await;
    for part in ["different texts", "guard train --method", "because measured on 390 rows: lora reached AUC", "warning: no rows in es"] {
        assert!(advice.stdout.contains(part), "{part}: {advice:?}");
    }
    let json: Value = serde_json::from_str(&done(at, "advise rows --json").await.stdout).expect("JSON");
    assert_eq!(json["way"], json!("prefix-or-adapter"));
    let blind = guard(at, "compare --model first --data rows --out x", "").await;
    assert!(blind.code == Some(1) && blind.stderr.contains("--held-out"), "{blind:?}");
}

#[tokio::test]
async fn what_cannot_be_used_is_named_and_a_bad_line_does_not_stop_the_others() {
    let place = begun().await;
    let at = place.path();
    let untrained = guard(at, "score --model first", "").await;
    assert!(untrained.code == Some(1) && untrained.stderr.contains("not trained"), "{untrained:?}");
    let absent = guard(at, "eval --model nowhere --data held", "").await;
    assert!(absent.code == Some(1) && absent.stderr.contains("manifest.json"), "{absent:?}");
    let few = "train --model first --data rows --method head --steps 2 --out trained";
    let quick = done(at, few).await;
    assert!(quick.stderr.contains("nothing is held out"), "{quick:?}");

    let input = "{\"id\": 1, \"text\": \"the rain\"}\nhidden words\n{\"id\": 3, \"text\": \"x\", \"role\": \"hidden\"}\n{\"id\": 4, \"text\": \"music\"}";
    let scored = guard(at, "score --model trained", input).await;
    assert_eq!(scored.code, Some(1));
    let lines: Vec<Value> = scored.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["id"].clone()).collect::<Vec<_>>(), [json!(1), Value::Null, Value::Null, json!(4)]);
    assert_eq!((&lines[1]["line"], &lines[2]["line"]), (&json!(2), &json!(3)));
    assert!(!scored.stdout.contains("hidden") && lines[3]["score"].is_number(), "{scored:?}");

    let config = at.join("trained/config.json");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    std::fs::write(&config, text.replace("\"temperature\": 1.0", "\"temperature\": 1.5")).expect("a file");
    let changed = guard(at, "score --model trained", "").await;
    assert!(changed.code == Some(1) && changed.stderr.contains("SHA-256") && changed.stderr.contains("config.json"), "{changed:?}");
    done(at, "manifest trained").await;
    assert_eq!(guard(at, "score --model trained", "").await.code, Some(0));

    std::fs::write(at.join("bad.jsonl"), "{\"text\": \"x\", \"label\": \"benign\"}\n{\"text\": \"x\"}\n").expect("a file");
    let bad = guard(at, "eval --model trained --data bad.jsonl", "").await;
    assert!(bad.code == Some(1) && bad.stderr.contains("bad.jsonl:2"), "{bad:?}");
    let method = guard(at, "train --model first --data rows --out x --method magic", "").await;
    assert!(method.code == Some(2) && method.stderr.contains("full, lora, qlora"), "{method:?}");
}

#[tokio::test]
async fn a_bench_measures_every_length_and_batch_and_writes_the_windows_it_compared() {
    let (model, place) = (TinyModel::new("tiny-1", "wicked"), tempfile::tempdir().expect("a temporary folder"));
    let order = format!("bench --model {} --seconds 0.01 --threads 1", model.path().display());
    let ran = done(place.path(), &format!("{order} --batches 1,4 --json --windows windows.jsonl")).await;
    let figures: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let list = |name: &str| figures[name].as_array().cloned().unwrap_or_else(|| panic!("{name}: {figures}"));
    // Its windows have 64 tokens at most.
    assert_eq!(list("latency").iter().map(|one| one["tokens"].clone()).collect::<Vec<_>>(), [8, 32, 64]);
    assert!(list("latency").iter().all(|one| one["p50_ms"].as_f64() <= one["p99_ms"].as_f64()), "{figures}");
    let points: Vec<(u64, u64)> =
        list("throughput").iter().map(|one| (one["batch"].as_u64().unwrap_or(0), one["tokens"].as_u64().unwrap_or(0))).collect();
    assert_eq!(points, [(1, 35), (4, 35), (1, 64), (4, 64)]);
    assert!(list("throughput").iter().all(|one| one["windows_per_s"].as_f64() > Some(0.0)), "{figures}");
    assert!(figures["apart"].as_f64() < Some(1e-3) && figures["resident_bytes"].as_u64() > Some(1 << 20), "{figures}");
    assert!(figures["half_load"]["p99_ms"].is_number() && figures["half_load"]["unavailable"] == 0, "{figures}");
    let windows = std::fs::read_to_string(place.path().join("windows.jsonl")).expect("the windows");
    let windows: Vec<Value> = windows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for window in &windows {
        let sum: f64 = window["scores"].as_array().expect("a list").iter().filter_map(Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 1e-4 && window["ids"].as_array().is_some_and(|ids| !ids.is_empty()), "{window}");
    }
    assert_eq!(windows.len(), 64);

    let shown = done(place.path(), &order).await.stdout;
    for part in ["Model tiny-1+", "on cpu, 1 thread", "| tokens of one window ", "| windows at once ", "| requests/s, half of the most "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for (wrong, said) in [("--seconds 0", "--seconds"), ("--batches 0", "--batches"), ("--device gpu", "cuda:1")] {
        let ran = guard(place.path(), &format!("{order} {wrong}"), "").await;
        assert!(ran.code != Some(0) && ran.stderr.contains(said), "{wrong}: {ran:?}");
    }
}

#[test]
fn the_check_for_a_gpu_names_what_it_lacks() {
    let script = harness::repository().join("guard-model/gpu-check.sh");
    for rehearsal in [&["--rehearse"][..], &[]] {
        let ran = std::process::Command::new("bash").arg(&script).args(rehearsal).args(["no-program", "no-model", "false"]).output();
        let ran = ran.expect("bash runs");
        let said = String::from_utf8_lossy(&ran.stderr);
        for what in ["missing: the program: no-program", "missing: the model: no-model", "missing: PyTorch"] {
            assert!(ran.status.code() == Some(2) && said.contains(what), "{what}: {said}");
        }
    }
}
