//! A report as text for a terminal, columns aligned.

use super::document::{Cell, Document, Section};
use super::style::Lang;

/// Rows shown of a section.
const ROWS_SHOWN: usize = 40;

pub(super) fn table(document: &Document) -> String {
    let mut text = format!("{}\n", document.title);
    for (name, value) in &document.facts {
        text.push_str(&format!("{name}: {}\n", value.shown()));
    }
    for section in &document.sections {
        text.push_str(&format!("\n{}\n", section.title));
        if let Some(note) = &section.note {
            text.push_str(&format!("  {note}\n"));
        }
        append(&mut text, section, document.lang);
    }
    text
}

fn append(text: &mut String, section: &Section, lang: Lang) {
    if section.rows.is_empty() {
        text.push_str(&format!("  {}\n", lang.say("none", "无")));
        return;
    }
    let head: Vec<String> = section.columns.iter().map(|column| column.title.clone()).collect();
    let shown: Vec<Vec<String>> = section.rows.iter().take(ROWS_SHOWN).map(|row| row.iter().map(Cell::shown).collect()).collect();
    let widths: Vec<usize> =
        (0..head.len()).map(|index| std::iter::once(&head).chain(&shown).map(|row| width(&row[index])).max().unwrap_or(0)).collect();
    for row in std::iter::once(&head).chain(&shown) {
        let cells = row.iter().zip(&widths).enumerate().map(|(index, (cell, most))| {
            let gap = " ".repeat(most - width(cell));
            if section.columns[index].is_number { format!("{gap}{cell}") } else { format!("{cell}{gap}") }
        });
        text.push_str(&format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end()));
    }
    if let Some(more) = section.rows.len().checked_sub(ROWS_SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!("  {more} {}\n", lang.say("more rows in --format json and csv", "行更多数据见 --format json 与 csv")));
    }
}

/// Columns a terminal takes: two for a character of East Asia.
fn width(text: &str) -> usize {
    let wide = |character: char| matches!(character, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}');
    text.chars().map(|character| if wide(character) { 2 } else { 1 }).sum()
}
