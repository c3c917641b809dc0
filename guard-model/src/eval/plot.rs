//! Plots as SVG files: no script, no font, nothing from elsewhere. Each says in words what it shows.

use std::fmt::Write as _;

use super::{
    metrics::Bin,
    report::{RATES, Report},
    table::{percent, ratio},
};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 480.0;
/// The frame that curves are drawn in: left, top, right, bottom.
const FRAME: (f64, f64, f64, f64) = (70.0, 50.0, 610.0, 420.0);
/// The lowest rate of false alarms on the logarithmic axis.
const RATE_MIN: f64 = 1e-4;
const BLUE: &str = "#1f4e9c";
const AMBER: &str = "#c98a00";
const GREY: &str = "#4a4f57";
/// Height of a bar and what is between it and the next.
const ROW: f64 = 26.0;

/// The ROC curve, over the rates of false alarms that matter: one in ten thousand to all.
pub fn roc(report: &Report) -> String {
    let (left, top, right, bottom) = FRAME;
    let x = |rate: f64| left + (right - left) * (1.0 - rate.max(RATE_MIN).log10() / RATE_MIN.log10());
    let y = |share: f64| bottom - (bottom - top) * share;
    let mut body = share_axis("attacks found", &y);
    for power in 0..=4 {
        let rate = RATE_MIN * 10f64.powi(power);
        let _ = write!(body, "{}<text x=\"{:.1}\" y=\"{}\" class=\"mid\">{}</text>", upright(x(rate)), x(rate), bottom + 20.0, short(rate));
    }
    body.push_str(&words_below("benign texts called attacks (logarithmic)"));
    let chance: Vec<(f64, f64)> = (0..=60).map(|n| RATE_MIN.powf(1.0 - f64::from(n) / 60.0)).map(|rate| (x(rate), y(rate))).collect();
    body.push_str(&line(&chance, GREY, "1\" stroke-dasharray=\"4 4"));
    let mut curve: Vec<(f64, f64)> = Vec::with_capacity(report.roc.len() * 2);
    for (rate, share) in &report.roc {
        // Between two thresholds nothing changes: steps, not slopes.
        if let Some((_, before)) = curve.last().copied() {
            curve.push((x(*rate), before));
        }
        curve.push((x(*rate), y(*share)));
    }
    body.push_str(&line(&curve, BLUE, "2"));
    for (rate, recall) in RATES.iter().zip(report.all.recall).filter(|(_, recall)| recall.is_finite()) {
        let _ = write!(
            body,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{AMBER}\"/><text x=\"{:.1}\" y=\"{:.1}\">{} found at {}</text>",
            x(*rate),
            y(recall),
            x(*rate) + 10.0,
            y(recall) + 16.0,
            percent(recall),
            percent(*rate)
        );
    }
    let all = &report.all;
    let title = format!("ROC: AUC {} ({} attacks, {} benign texts)", ratio(all.auc), all.attacks, all.benign);
    let say =
        format!("{title}; {} of the attacks found at 1 % false positives, {} at 0.1 %", percent(all.recall[0]), percent(all.recall[1]));
    picture(&title, &say, HEIGHT, &body)
}

/// What share of the texts with a score attack: on the diagonal the scores mean what they say.
pub fn calibration(report: &Report) -> String {
    let (left, _, right, bottom) = FRAME;
    let x = |score: f64| left + (right - left) * score;
    let y = |share: f64| bottom - (bottom - FRAME.1) * share;
    let mut body = share_axis("share that attacks", &y);
    for n in 0..=5 {
        let score = f64::from(n) / 5.0;
        let _ = write!(body, "<text x=\"{:.1}\" y=\"{}\" class=\"mid\">{score:.1}</text>", x(score), bottom + 20.0);
    }
    body.push_str(&words_below("mean score of a tenth of the scale; the disc's area is the number of texts"));
    body.push_str(&line(&[(x(0.0), y(0.0)), (x(1.0), y(1.0))], GREY, "1\" stroke-dasharray=\"4 4"));
    let points: Vec<(f64, f64)> = report.calibration.iter().map(|bin| (x(bin.score), y(bin.attacks))).collect();
    body.push_str(&line(&points, BLUE, "2"));
    let most = report.calibration.iter().map(|bin| bin.count).max().unwrap_or(1).max(1) as f64;
    for Bin { score, attacks, count } in &report.calibration {
        let _ = write!(
            body,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\" fill=\"{AMBER}\" fill-opacity=\"0.7\"><title>score {score:.3}: {} attack, of {count}</title></circle>",
            x(*score),
            y(*attacks),
            3.0 + 11.0 * (*count as f64 / most).sqrt(),
            percent(*attacks)
        );
    }
    let title = format!("Calibration: expected error {}", ratio(report.calibration_error));
    picture(&title, &title, HEIGHT, &body)
}

/// One measure of several things side by side.
pub struct Panel {
    /// What is measured, and in which unit.
    pub title: String,
    /// A value for each thing; NaN where there is none.
    pub values: Vec<f64>,
    /// The value in words.
    pub said: Vec<String>,
}

/// Bars of several measures below each other, the same things in each.
pub fn panels(title: &str, names: &[String], panels: &[Panel]) -> String {
    let (left, room) = (110.0, WIDTH - 110.0 - 110.0);
    let mut body = String::new();
    let mut y = 60.0;
    for (n, panel) in panels.iter().enumerate() {
        let _ = write!(body, "<text x=\"{left}\" y=\"{y}\" class=\"head\">{}</text>", escape(&panel.title));
        y += 10.0;
        let most = panel.values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
        for ((name, value), said) in names.iter().zip(&panel.values).zip(&panel.said) {
            let wide = if value.is_finite() && most > 0.0 { room * value.max(0.0) / most } else { 0.0 };
            let colour = if n < 2 { BLUE } else { AMBER };
            let _ = write!(
                body,
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"end\">{}</text><rect x=\"{left}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"18\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                left - 10.0,
                y + 14.0,
                escape(name),
                left + wide + 8.0,
                y + 14.0,
                escape(said)
            );
            y += ROW;
        }
        y += 24.0;
    }
    let firsts: Vec<String> = panels.iter().map(|panel| format!("{}: {}", panel.title, panel.said.join(", "))).collect();
    picture(title, &format!("{title}, for {}. {}", names.join(", "), firsts.join("; ")), y, &body)
}

/// Lines and words of an axis of shares.
fn share_axis(what: &str, y: &dyn Fn(f64) -> f64) -> String {
    let (left, top, right, bottom) = FRAME;
    let mut text = String::new();
    for n in 0..=5 {
        let at = y(f64::from(n) / 5.0);
        let _ = write!(
            text,
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" class=\"grid\"/><text x=\"{}\" y=\"{:.1}\" class=\"end\">{} %</text>",
            left - 8.0,
            at + 4.0,
            n * 20
        );
    }
    let middle = (top + bottom) / 2.0;
    let _ = write!(text, "<text x=\"18\" y=\"{middle}\" class=\"mid\" transform=\"rotate(-90 18 {middle})\">{what}</text>");
    text
}

fn words_below(what: &str) -> String {
    format!("<text x=\"{}\" y=\"{}\" class=\"mid\">{what}</text>", (FRAME.0 + FRAME.2) / 2.0, FRAME.3 + 44.0)
}

fn upright(x: f64) -> String {
    format!("<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\" class=\"grid\"/>", FRAME.1, FRAME.3)
}

fn line(points: &[(f64, f64)], colour: &str, width: &str) -> String {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>", points.join(" "))
}

/// A power of ten as percents.
fn short(rate: f64) -> String {
    format!("{} %", (rate * 1e4).round() / 1e2)
}

fn escape(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn picture(title: &str, say: &str, height: f64, body: &str) -> String {
    let (title, say) = (escape(title), escape(say));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{say}\">\
         <style>text{{font:13px system-ui,sans-serif;fill:#1c1f23}}.title{{font-size:16px;font-weight:600}}.head{{font-weight:600}}\
         .end{{text-anchor:end}}.mid{{text-anchor:middle}}.grid{{stroke:#d5d9de}}</style>\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/><text x=\"20\" y=\"28\" class=\"title\">{title}</text>{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::report::{Report, tests::report};

    #[test]
    fn a_plot_says_in_words_what_it_shows() {
        let plots = [roc(&report()), calibration(&report())];
        assert!(plots[0].contains("aria-label=\"ROC: AUC 0.") && plots[0].contains("at 1 % false positives"), "{}", plots[0]);
        assert!(plots[1].contains("expected error 0."), "{}", plots[1]);
    }

    #[test]
    fn no_value_breaks_a_plot_and_no_name_leaves_its_place() {
        let empty = Report::of("", &[], &[]);
        let panel = Panel { title: "time <s>".into(), values: vec![f64::NAN, 0.0], said: vec!["-".into(), "\"0\"".into()] };
        for plot in [roc(&empty), calibration(&empty), panels("a & b", &["<x>".into(), "\u{1b}y".into()], &[panel])] {
            assert!(plot.starts_with("<svg") && plot.ends_with("</svg>\n"), "{plot}");
            assert!(!plot.contains("NaN") && !plot.contains("inf") && !plot.contains("<x>") && !plot.contains('\u{1b}'), "{plot}");
        }
    }
}
