//! A report in the forms people and programs read.

use serde_json::json;

use super::document::{Cell, Document};
use super::frameworks::{Catalogue, coverage};
use super::html::html;
use super::style::{Lang, visible};
use super::table::table;
use super::{Answer, Histogram, Scope};
use crate::event::rfc3339;

/// The version of the JSON form.
const VERSION: u16 = 1;

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text for a terminal.
    #[default]
    Table,
    /// One JSON object: every number.
    Json,
    /// One line for each number: `section,name,name2,name3,measure,value`.
    Csv,
    /// One page that needs nothing else.
    Html,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "html" => Ok(Self::Html),
            _ => Err(format!("`{}` is none of table, json, csv, html", word.escape_debug())),
        }
    }
}

/// How to write a report.
#[derive(Debug, Clone)]
pub struct Form<'a> {
    /// The form.
    pub format: Format,
    /// The language of table and HTML.
    pub lang: Lang,
    /// The rules whose tags group the findings by framework; `None`: no grouping, and the report says so.
    pub catalogue: Option<&'a Catalogue>,
    /// Moment the report is made, microseconds since 1970.
    pub made_us: i64,
}

/// Writes a report.
pub fn render(scope: &Scope, answer: &Answer, form: &Form<'_>) -> String {
    match form.format {
        Format::Json => json_form(scope, answer, form),
        Format::Table => table(&Document::new(scope, answer, form)),
        Format::Csv => csv(&Document::new(scope, answer, &Form { lang: Lang::En, ..form.clone() })),
        Format::Html => html(&Document::new(scope, answer, form), answer),
    }
}

fn json_form(scope: &Scope, answer: &Answer, form: &Form<'_>) -> String {
    let frameworks = form.catalogue.map(|catalogue| coverage(&answer.report, answer.chain.as_ref(), catalogue));
    let object = json!({
        "report": VERSION,
        "generated": rfc3339(form.made_us),
        "from": rfc3339(scope.period.from_us),
        "to": rfc3339(scope.period.to_us),
        "tenant": scope.tenant,
        "key_id": scope.key_id,
        "percentile_error": Histogram::ERROR,
        "figures": answer.report,
        "frameworks": frameworks,
        "framework_policies": form.catalogue.map(|catalogue| &catalogue.versions),
        "chain": answer.chain,
    });
    format!("{object:#}\n")
}

fn csv(document: &Document) -> String {
    let mut text = String::from("section,name,name2,name3,measure,value\r\n");
    let mut line = |cells: [&str; 6]| {
        text.push_str(&cells.map(field).join(","));
        text.push_str("\r\n");
    };
    for (id, (_, value)) in document.fact_ids.iter().zip(&document.facts) {
        line(["report", "", "", "", id, &value.plain()]);
    }
    for section in &document.sections {
        for row in &section.rows {
            let mut names = row.iter().take(section.names).map(Cell::plain);
            let [one, two, three] = std::array::from_fn(|_| names.next().unwrap_or_default());
            for (column, cell) in section.columns.iter().zip(row).skip(section.names) {
                line([section.id, &one, &two, &three, column.id, &cell.plain()]);
            }
        }
    }
    text
}

/// A cell as RFC 4180 quotes it. What a spreadsheet would take for a formula gets an apostrophe in front.
fn field(cell: &str) -> String {
    let formula = |character: char| matches!(character, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '|' | '%');
    let is_dash = cell == "-";
    let guard = if !is_dash && cell.trim_start().starts_with(formula) { "'" } else { "" };
    let cell = if cell.chars().any(|character| character.is_control()) { visible(cell) } else { cell.to_owned() };
    if guard.is_empty() && !cell.contains([',', '"', '\'', ';']) {
        return cell;
    }
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_breaks_a_line() {
        assert_eq!(field("plain text"), "plain text");
        assert_eq!(field("=1+1"), "\"'=1+1\"");
        assert_eq!(field(" \t@SUM(A1)"), "\"'\\u{20}\\t@SUM(A1)\"");
        assert_eq!(field("-2"), "\"'-2\"");
        assert_eq!(field("+2"), "\"'+2\"");
        assert_eq!(field("a,\"b\"\r\n=c"), "\"a,\"\"b\"\"\\r\\n=c\"");
        assert_eq!(field("-"), "-");
    }
}
