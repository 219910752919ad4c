//! The text that Prometheus reads (version 0.0.4): families of samples, each under its help and its type.

use std::fmt::{Display, Write as _};

#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Opens a family: its samples follow. `kind` is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_told_whole_whatever_is_in_it() {
        let mut text = Text::default();
        text.family("calls_total", "counter", "Calls.");
        text.sample("calls_total", &[], 1);
        text.sample("calls_total", &[("a", "x"), ("b", "\"\\\n")], 0.5);
        let expected = "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total 1\n\
                        calls_total{a=\"x\",b=\"\\\"\\\\\\n\"} 0.5\n";
        assert_eq!(text.into_string(), expected);
    }
}
