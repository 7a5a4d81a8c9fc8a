//! Reads nextest's report (JUnit XML) into the tally.

use std::path::Path;

use anyhow::{Context, Result};

use super::tally::Tally;

/// The report's text.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("no report was written ({})", path.display()))
}

/// Counts every test of a report, and says how many there were.
pub(crate) fn count(text: &str, tally: &mut Tally) -> Result<usize> {
    let document = roxmltree::Document::parse(text).context("the report is no XML")?;
    let mut all = 0;
    for case in document.descendants().filter(|node| node.has_tag_name("testcase")) {
        let attribute = |name| case.attribute(name).unwrap_or_default();
        let name = format!("{} {}", attribute("classname"), attribute("name"));
        let child = |tag| case.children().find(|node| node.has_tag_name(tag));
        if let Some(fault) = child("failure").or_else(|| child("error")) {
            let message = fault.attribute("message").unwrap_or("failed");
            tally.fail(&name, message.lines().next().unwrap_or_default());
        } else if child("skipped").is_some() {
            tally.skip(&name, "ignored");
        } else {
            tally.pass();
        }
        all += 1;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_was_ignored_is_skipped_and_not_passed() {
        let report = r#"<testsuites><testsuite name="a">
            <testcase name="one" classname="a"/>
            <testcase name="two" classname="a"><failure message="it broke&#10;here"/></testcase>
            <testcase name="three" classname="a"><skipped/></testcase>
        </testsuite></testsuites>"#;
        let mut tally = Tally::default();
        assert_eq!(count(report, &mut tally).unwrap(), 3);
        assert_eq!(
            format!("{tally:?}"),
            r#"Tally { passed: 1, failed: [Entry { name: "a two", reason: "it broke" }], skipped: [Entry { name: "a three", reason: "ignored" }] }"#
        );
    }

    #[test]
    fn a_report_without_a_test_is_told_from_one_that_passed() {
        assert_eq!(count("<testsuites/>", &mut Tally::default()).unwrap(), 0);
    }

    #[test]
    fn half_a_report_is_an_error_and_no_success() {
        assert!(count("<testsuites><testsuite>", &mut Tally::default()).is_err());
    }
}
