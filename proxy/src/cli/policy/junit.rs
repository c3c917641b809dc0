//! Results in the JUnit form that build servers read: suites, cases, failures.

use std::fmt::Write as _;

/// One group of cases.
pub(super) struct Suite {
    pub name: String,
    pub cases: Vec<Case>,
}

/// One case, and why it failed if it did.
pub(super) struct Case {
    pub name: String,
    pub file: String,
    pub line: Option<u64>,
    pub failure: Option<String>,
}

/// Writes the suites as one document.
pub(super) fn document(suites: &[Suite]) -> String {
    let failures = |suite: &Suite| suite.cases.iter().filter(|case| case.failure.is_some()).count();
    let (tests, failed): (usize, usize) = (suites.iter().map(|suite| suite.cases.len()).sum(), suites.iter().map(failures).sum());
    let mut xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{tests}\" failures=\"{failed}\">\n");
    for suite in suites {
        let (name, tests, failed) = (escaped(&suite.name), suite.cases.len(), failures(suite));
        let _ = writeln!(xml, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">");
        for case in &suite.cases {
            let line = case.line.map(|line| format!(" line=\"{line}\"")).unwrap_or_default();
            let (name, class, file) = (escaped(&case.name), escaped(&suite.name), escaped(&case.file));
            let _ = write!(xml, "    <testcase name=\"{name}\" classname=\"{class}\" file=\"{file}\"{line}");
            let _ = match &case.failure {
                None => writeln!(xml, "/>"),
                Some(failure) => {
                    let head = escaped(failure.lines().next().unwrap_or_default());
                    writeln!(xml, ">\n      <failure message=\"{head}\">{}</failure>\n    </testcase>", escaped(failure))
                }
            };
        }
        xml.push_str("  </testsuite>\n");
    }
    xml + "</testsuites>\n"
}

/// Text for XML 1.0; a character that the document may not hold becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_counts_its_failures_and_escapes_what_it_quotes() {
        let case = |name: &str, failure: Option<&str>| Case {
            name: name.into(),
            file: "p.yaml".into(),
            line: Some(3),
            failure: failure.map(str::to_owned),
        };
        let cases = vec![case("plain", None), case("a < b & \"c\"\u{1}", Some("first\nsecond <x>"))];
        let xml = document(&[Suite { name: "s".into(), cases }]);
        assert!(xml.contains("<testsuites tests=\"2\" failures=\"1\">"), "{xml}");
        assert!(xml.contains("<testcase name=\"plain\" classname=\"s\" file=\"p.yaml\" line=\"3\"/>"), "{xml}");
        assert!(xml.contains("name=\"a &lt; b &amp; &quot;c&quot;\u{fffd}\""), "{xml}");
        assert!(xml.contains("<failure message=\"first\">first\nsecond &lt;x&gt;</failure>"), "{xml}");
    }
}
