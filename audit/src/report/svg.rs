//! Plots as inline SVG: no script, no font, nothing from elsewhere. Each says in words what it shows.

use super::figures::{Caller, Category, Day, Stage};
use super::html::escape;
use super::style::{Lang, count, duration, visible};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 240.0;
/// Bars of the plot of days; longer periods take several days to a bar.
const BARS_MAX: usize = 62;
/// Bars of a plot with names.
const NAMED_MAX: usize = 12;
const ROW: f64 = 26.0;
/// Characters of a name beside a bar.
const NAME_SHOWN: usize = 30;
/// Decisions in the order of their declaration; each is at least 3:1 against white and unlike its neighbours in lightness.
const COLOURS: [&str; 6] = ["#7795b3", "#c98a00", "#5b6fd0", "#1f4e9c", "#b3261e", "#4a4f57"];
const WORDS: [&str; 6] = ["allow", "flag", "pseudonymize", "redact", "block", "refused"];

/// Requests of each day by decision, one on the other.
pub(super) fn days(days: &[Day], lang: Lang) -> String {
    let group = days.len().div_ceil(BARS_MAX).max(1);
    let bars: Vec<(&str, [u64; 6])> = days.chunks(group).filter_map(|days| Some((days.first()?.day.as_str(), sum(days)))).collect();
    let most = bars.iter().map(|(_, counts)| counts.iter().sum::<u64>()).max().unwrap_or(0);
    let (top, bottom, left, right) = (48.0, 270.0, 80.0, WIDTH - 10.0);
    let scale = Axis::new(most);
    let mut body = legend();
    for value in scale.ticks() {
        let y = bottom - (bottom - top) * value as f64 / scale.end as f64;
        body.push_str(&format!(
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" class=\"grid\"/><text x=\"{}\" y=\"{:.1}\" class=\"end\">{}</text>",
            left - 8.0,
            y + 4.0,
            count(value)
        ));
    }
    let step = (right - left) / bars.len().max(1) as f64;
    let wide = (step * 0.8).min(48.0);
    let label_every = bars.len().div_ceil(8).max(1);
    for (index, (day, counts)) in bars.iter().enumerate() {
        let x = left + step * index as f64 + (step - wide) / 2.0;
        let mut y = bottom;
        for ((number, colour), word) in counts.iter().zip(COLOURS).zip(WORDS).filter(|((number, _), _)| **number > 0) {
            let high = (bottom - top) * *number as f64 / scale.end as f64;
            y -= high;
            body.push_str(&format!(
                "<rect x=\"{x:.1}\" y=\"{y:.2}\" width=\"{wide:.1}\" height=\"{high:.2}\" fill=\"{colour}\"><title>{day}: {word} {}</title></rect>",
                count(*number)
            ));
        }
        if index % label_every == 0 {
            body.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\" class=\"mid\">{day}</text>", x + wide / 2.0, bottom + 20.0));
        }
    }
    let every = if group > 1 { format!("; {group} {}", lang.say("days to a bar", "天一柱")) } else { String::new() };
    let title = lang.say("Requests by day and decision", "每日请求按处置");
    let say = format!("{title}{every}. {}: {}", lang.say("Most in one bar", "单柱最多"), count(most));
    figure(&format!("{title}{every}"), &say, 300.0, &body)
}

fn sum(days: &[Day]) -> [u64; 6] {
    let mut counts = [0; 6];
    for day in days {
        counts.iter_mut().zip(day.decisions).for_each(|(sum, number)| *sum += number);
    }
    counts
}

fn legend() -> String {
    let items = COLOURS.iter().zip(WORDS).enumerate();
    items
        .map(|(index, (colour, word))| {
            let x = 80.0 + 130.0 * index as f64;
            format!(
                "<rect x=\"{x}\" y=\"10\" width=\"14\" height=\"14\" fill=\"{colour}\"/><text x=\"{}\" y=\"22\">{word}</text>",
                x + 20.0
            )
        })
        .collect()
}

/// Findings of the categories, in requests and in answers.
pub(super) fn categories(rows: &[Category], lang: Lang) -> String {
    let bars: Vec<_> = rows.iter().map(|row| (row.category.clone(), [row.in_requests, row.in_answers])).collect();
    bars_of(lang.say("Findings by category", "按类别的发现"), &bars, [lang.say("in requests", "请求中"), lang.say("in answers", "回答中")])
}

/// High-risk events of the callers.
pub(super) fn callers(rows: &[Caller], lang: Lang) -> String {
    let name = |row: &Caller| format!("{}/{}", row.tenant, row.key_id);
    let bars: Vec<_> = rows.iter().map(|row| (name(row), [row.critical, row.high_risk.saturating_sub(row.critical)])).collect();
    bars_of(
        lang.say("High-risk events of the callers", "调用方的高风险事件"),
        &bars,
        [lang.say("critical", "严重"), lang.say("others", "其他")],
    )
}

fn bars_of(title: &str, bars: &[(String, [u64; 2])], parts: [&str; 2]) -> String {
    let colours = ["#b3261e", "#1f4e9c"];
    let colours = if parts[0] == "critical" || parts[0] == "严重" { colours } else { ["#1f4e9c", "#c98a00"] };
    let bars = &bars[..bars.len().min(NAMED_MAX)];
    let most = bars.iter().map(|(_, counts)| counts.iter().sum::<u64>()).max().unwrap_or(0).max(1);
    let room = WIDTH - LEFT - 110.0;
    let mut body = String::new();
    for (index, (part, colour)) in parts.iter().zip(colours).enumerate() {
        let x = LEFT + 150.0 * index as f64;
        body.push_str(&format!(
            "<rect x=\"{x}\" y=\"8\" width=\"14\" height=\"14\" fill=\"{colour}\"/><text x=\"{}\" y=\"20\">{part}</text>",
            x + 20.0
        ));
    }
    for (index, (name, counts)) in bars.iter().enumerate() {
        let y = 34.0 + ROW * index as f64;
        let mut x = LEFT;
        body.push_str(&format!("<text x=\"{}\" y=\"{}\" class=\"end\">{}</text>", LEFT - 10.0, y + 14.0, short(name)));
        for (number, colour) in counts.iter().zip(colours) {
            let wide = room * *number as f64 / most as f64;
            body.push_str(&format!("<rect x=\"{x:.1}\" y=\"{y}\" width=\"{wide:.1}\" height=\"18\" fill=\"{colour}\"/>"));
            x += wide;
        }
        body.push_str(&format!("<text x=\"{:.1}\" y=\"{}\">{}</text>", x + 8.0, y + 14.0, count(counts.iter().sum())));
    }
    let first = bars.first().map(|(name, counts)| format!(". {}: {}", short(name), count(counts.iter().sum()))).unwrap_or_default();
    figure(title, &format!("{title}{first}"), 44.0 + ROW * bars.len() as f64, &body)
}

/// p50, p95 and p99 of the stages on a logarithmic axis.
pub(super) fn latencies(rows: &[Stage], lang: Lang) -> String {
    let title = lang.say("Latency by stage: p50, p95, p99 (logarithmic)", "各阶段延迟：p50、p95、p99（对数轴）");
    let most = rows.iter().map(|row| row.p99).max().unwrap_or(1).max(10);
    let decades = (most as f64).log10().ceil();
    let room = WIDTH - LEFT - 110.0;
    let at = |micros: u64| LEFT + room * (micros.max(1) as f64).log10() / decades;
    let bottom = 30.0 + ROW * rows.len() as f64;
    let mut body = String::new();
    for decade in 0..=decades as u32 {
        let x = at(10_u64.saturating_pow(decade));
        body.push_str(&format!(
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"26\" y2=\"{bottom}\" class=\"grid\"/><text x=\"{x:.1}\" y=\"18\" class=\"mid\">{}</text>",
            tick(10_u64.saturating_pow(decade))
        ));
    }
    for (index, row) in rows.iter().enumerate() {
        let y = 44.0 + ROW * index as f64;
        let (from, mid, to) = (at(row.p50), at(row.p95), at(row.p99));
        body.push_str(&format!("<text x=\"{}\" y=\"{}\" class=\"end\">{}</text>", LEFT - 10.0, y + 4.0, row.stage));
        body.push_str(&format!("<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#4a4f57\" stroke-width=\"2\"/>"));
        body.push_str(&format!(
            "<circle cx=\"{from:.1}\" cy=\"{y}\" r=\"6\" fill=\"#1f4e9c\"><title>p50 {}</title></circle>",
            duration(row.p50)
        ));
        body.push_str(&format!(
            "<rect x=\"{:.1}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"#c98a00\"><title>p95 {}</title></rect>",
            mid - 5.0,
            y - 5.0,
            duration(row.p95)
        ));
        body.push_str(&format!(
            "<path d=\"M{to:.1} {}l7 12h-14z\" fill=\"#b3261e\"><title>p99 {}</title></path>",
            y - 7.0,
            duration(row.p99)
        ));
        body.push_str(&format!("<text x=\"{:.1}\" y=\"{}\">{}</text>", to + 12.0, y + 4.0, duration(row.p99)));
    }
    let y = bottom + 18.0;
    body.push_str(&format!(
        "<circle cx=\"{}\" cy=\"{}\" r=\"6\" fill=\"#1f4e9c\"/><text x=\"{}\" y=\"{y}\">p50</text>\
         <rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"#c98a00\"/><text x=\"{}\" y=\"{y}\">p95</text>\
         <path d=\"M{} {}l7 12h-14z\" fill=\"#b3261e\"/><text x=\"{}\" y=\"{y}\">p99</text>",
        LEFT + 6.0,
        y - 4.0,
        LEFT + 20.0,
        LEFT + 80.0,
        y - 9.0,
        LEFT + 98.0,
        LEFT + 166.0,
        y - 11.0,
        LEFT + 180.0
    ));
    let total = rows
        .iter()
        .find(|row| row.stage == "total")
        .map(|row| format!(". total: p50 {}, p95 {}, p99 {}", duration(row.p50), duration(row.p95), duration(row.p99)));
    figure(title, &format!("{title}{}", total.unwrap_or_default()), y + 12.0, &body)
}

/// A power of ten of microseconds.
fn tick(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{} s", count(micros / 1_000_000)),
    }
}

/// A name beside a bar, escaped.
fn short(name: &str) -> String {
    let name = visible(name);
    if name.chars().count() <= NAME_SHOWN {
        return escape(&name);
    }
    format!("{}…", escape(&name.chars().take(NAME_SHOWN - 1).collect::<String>()))
}

/// A plot; `say` is escaped already where it holds names.
fn figure(title: &str, say: &str, height: f64, body: &str) -> String {
    format!(
        "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{say}\">{body}</svg></figure>\n"
    )
}

/// An axis from 0 to a round number.
struct Axis {
    end: u64,
    step: u64,
}

impl Axis {
    fn new(most: u64) -> Self {
        let rough = (most / 4).max(1);
        let decade = 10_u64.pow(rough.ilog10());
        let step = [1, 2, 5, 10].into_iter().map(|times| times * decade).find(|step| *step >= rough).unwrap_or(rough);
        Self { end: most.div_ceil(step).max(1) * step, step }
    }

    fn ticks(&self) -> impl Iterator<Item = u64> {
        (0..=self.end / self.step).map(|index| index * self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_or_above_the_most_on_round_numbers() {
        for (most, step, end) in [(0, 1, 1), (3, 1, 3), (7, 1, 7), (100, 50, 100), (101, 50, 150), (999_999, 500_000, 1_000_000)] {
            let axis = Axis::new(most);
            assert_eq!((axis.step, axis.end), (step, end), "{most}");
        }
    }

    #[test]
    fn names_in_a_plot_are_escaped_and_cut() {
        let row = Category { category: "<script>\"'&\u{202e}".into(), in_requests: 1, ..Category::default() };
        let plot = categories(&[row], Lang::En);
        assert!(!plot.contains("<script>") && !plot.contains('\u{202e}') && plot.contains("&lt;script&gt;&quot;&#39;&amp;"), "{plot}");
        assert!(short(&"x".repeat(99)).chars().count() == NAME_SHOWN);
    }

    #[test]
    fn no_value_breaks_a_plot() {
        for plot in [days(&[], Lang::En), categories(&[], Lang::Zh), callers(&[], Lang::En), latencies(&[], Lang::Zh)] {
            assert!(plot.starts_with("<figure>") && !plot.contains("NaN") && !plot.contains("inf"), "{plot}");
        }
        let stage = Stage { stage: "total", count: 1, p50: 0, p95: 0, p99: u64::MAX, max: u64::MAX };
        let plot = latencies(&[stage], Lang::En);
        assert!(!plot.contains("NaN") && !plot.contains("inf"), "{plot}");
    }
}
