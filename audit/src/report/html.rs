//! A report as one HTML page: no network, no script; everything from the record is escaped, and the page forbids itself all else.

use super::Answer;
use super::chain::Standing;
use super::document::{Document, Section};
use super::svg;

/// Rows shown of a section.
const ROWS_SHOWN: usize = 100;

const STYLE: &str = "\
:root{color-scheme:light}\
*{box-sizing:border-box}\
body{font:15px/1.5 system-ui,'Noto Sans','Noto Sans CJK SC','PingFang SC','Microsoft YaHei',sans-serif;color:#1b1f24;background:#fff;margin:0 auto;max-width:1040px;padding:32px 40px}\
h1{font-size:26px;margin:0 0 16px}\
h2{font-size:18px;margin:36px 0 8px;border-bottom:2px solid #1b1f24;padding-bottom:4px}\
table{border-collapse:collapse;width:100%;font-size:13.5px}\
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid #d5dae0;vertical-align:top;overflow-wrap:anywhere;unicode-bidi:isolate}\
thead th{border-bottom:1.5px solid #6b7480;color:#3b434c;vertical-align:bottom;overflow-wrap:normal}\
tbody th{font-weight:400}\
.facts th{width:210px;font-weight:600}\
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding-left:10px;padding-right:0}\
.note,.none{color:#4a5260;margin:4px 0 8px;font-size:13.5px;overflow-wrap:anywhere}\
.verdict{padding:10px 14px;margin:0 0 16px;border:1px solid;border-left-width:8px;font-weight:600}\
.good{border-color:#1d6b35;background:#eef7f0}.warn{border-color:#8a5a00;background:#fdf6e3}.bad{border-color:#b3261e;background:#fdeeed}\
figure{margin:16px 0;break-inside:avoid}\
figcaption{font-weight:600;margin-bottom:6px}\
svg{width:100%;height:auto;font:13px system-ui,'Noto Sans','Noto Sans CJK SC',sans-serif;fill:#1b1f24}\
.grid{stroke:#d5dae0}.end{text-anchor:end}.mid{text-anchor:middle}\
dt{font-weight:600;margin-top:10px}dd{margin:0 0 0 0}\
nav{font-size:13.5px;margin:16px 0}nav a{color:#1f4e9c;margin-right:14px;white-space:nowrap}\
.wide{overflow-x:auto}\
@media print{@page{margin:14mm}body{max-width:none;padding:0;font-size:11px}table{font-size:10px}nav{display:none}h2{break-after:avoid}tr{break-inside:avoid}thead{display:table-header-group}.wide{overflow:visible}\
rect,circle,path,.verdict{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

pub(super) fn html(document: &Document, answer: &Answer) -> String {
    let lang = document.lang;
    let title = escape(&document.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        lang.code()
    );
    page.push_str(&verdict(document, answer));
    page.push_str("<table class=\"facts\"><tbody>\n");
    for (name, value) in &document.facts {
        page.push_str(&format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(&value.shown())));
    }
    page.push_str("</tbody></table>\n");
    let link = |section: &Section| format!("<a href=\"#{}\">{}</a>", section.id, escape(&section.title));
    let links: Vec<String> = document.sections.iter().map(link).collect();
    page.push_str(&format!(
        "<nav aria-label=\"{}\">{} <a href=\"#method\">{}</a></nav>\n",
        lang.say("Contents", "目录"),
        links.join("\n"),
        method_title(document)
    ));
    for section in &document.sections {
        append(&mut page, section, answer, document);
    }
    page.push_str(&format!("<section aria-labelledby=\"method\"><h2 id=\"method\">{}</h2>\n<dl>\n", method_title(document)));
    for (subject, words) in &document.method {
        page.push_str(&format!("<dt>{}</dt><dd>{}</dd>\n", escape(subject), escape(words)));
    }
    page.push_str("</dl></section>\n</main>\n</body>\n</html>\n");
    page
}

fn method_title(document: &Document) -> &'static str {
    document.lang.say("How each number is made", "各数字的由来")
}

/// What the chain says, before anything else.
fn verdict(document: &Document, answer: &Answer) -> String {
    let lang = document.lang;
    let Some(chain) = &answer.chain else {
        let words =
            lang.say("NOT CHECKED: counted in ClickHouse, without the chain of events.", "未检查：数字来自 ClickHouse，不含事件链。");
        return format!("<p class=\"verdict warn\">{words}</p>\n");
    };
    let (class, words) = match chain.standing {
        Standing::Proven => (
            "good",
            lang.say(
                "The events of this period were checked: none was changed, removed or moved.",
                "已检查本期间的事件：没有被修改、删除或移动。",
            ),
        ),
        Standing::PartlySigned => (
            "warn",
            lang.say("The events fit together; the last ones of the period are not signed yet.", "事件前后一致；期间最后一部分尚未签名。"),
        ),
        Standing::Unproven => (
            "warn",
            lang.say("NOT PROVEN: no signed checkpoint confirms the events of this period.", "未证明：没有签名检查点确认本期间的事件。"),
        ),
        Standing::Empty => ("warn", lang.say("The store has no event.", "存储中没有事件。")),
        Standing::Tampered => {
            ("bad", lang.say("TAMPERED: events were changed, removed or moved. See below.", "已被篡改：有事件被修改、删除或移动。见下文。"))
        }
    };
    format!("<p class=\"verdict {class}\">{words}</p>\n")
}

fn append(page: &mut String, section: &Section, answer: &Answer, document: &Document) {
    let (report, lang) = (&answer.report, document.lang);
    let id = section.id;
    page.push_str(&format!("<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{}</h2>\n", escape(&section.title)));
    if let Some(note) = &section.note {
        page.push_str(&format!("<p class=\"note\">{}</p>\n", escape(note)));
    }
    if section.rows.is_empty() {
        let none = lang.say("None in this period.", "本期间无。");
        if !section.columns.is_empty() {
            page.push_str(&format!("<p class=\"none\">{none}</p>\n"));
        }
        page.push_str("</section>\n");
        return;
    }
    page.push_str(&match id {
        "days" => svg::days(&report.days, lang),
        "categories" => svg::categories(&report.categories, lang),
        "callers" => svg::callers(&report.callers, lang),
        "latencies" => svg::latencies(&report.stages, lang),
        _ => String::new(),
    });
    page.push_str("<div class=\"wide\"><table><thead><tr>");
    for column in &section.columns {
        let class = if column.is_number { " class=\"n\"" } else { "" };
        page.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escape(&column.title)));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in section.rows.iter().take(ROWS_SHOWN) {
        page.push_str("<tr>");
        for (index, (cell, column)) in row.iter().zip(&section.columns).enumerate() {
            let value = escape(&cell.shown());
            page.push_str(&match (index, column.is_number) {
                (0, _) => format!("<th scope=\"row\">{value}</th>"),
                (_, true) => format!("<td class=\"n\">{value}</td>"),
                (_, false) => format!("<td>{value}</td>"),
            });
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
    if let Some(more) = section.rows.len().checked_sub(ROWS_SHOWN).filter(|more| *more > 0) {
        page.push_str(&format!(
            "<p class=\"note\">{more} {}</p>\n",
            lang.say("more rows in the forms JSON and CSV.", "行更多数据见 JSON 与 CSV 格式。")
        ));
    }
    page.push_str("</section>\n");
}

/// Text as it stands in HTML, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
