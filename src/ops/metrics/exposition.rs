//! The text of a scrape: OpenMetrics as the library writes it, or the older text format of Prometheus.
//!
//! The two differ where metrics are described. Both scrapers read both, but each believes the type of a counter or
//! of an info only in its own format.

use std::borrow::Cow;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that a scraper prefers by its `Accept` header (RFC 9110, 12.5.1); Prometheus' own where it does not
    /// say, or asks for what there is not.
    pub fn preferred(accept: &str) -> Self {
        let quality_of = |media: &str| {
            let ranges = accept.split(',').map(str::trim).filter(|range| {
                let name = range.split(';').next().unwrap_or_default().trim();
                name.eq_ignore_ascii_case(media)
            });
            ranges.map(quality).fold(0.0, f64::max)
        };
        if quality_of("application/openmetrics-text") > quality_of("text/plain").max(quality_of("text/*")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The media type of the format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Brings OpenMetrics text into the format.
    pub(super) fn of_open_metrics(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Prometheus => as_prometheus(&text),
        }
    }
}

fn quality(range: &str) -> f64 {
    let weight = range.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("q="));
    weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0))
}

/// Rewrites the lines that describe metrics; samples are the same in both formats.
///
/// OpenMetrics describes a counter and an info without the suffix of their samples, and knows units and an end.
fn as_prometheus(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 1_024);
    let mut help = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
            continue;
        }
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let typed = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '));
        let Some((stem, kind)) = typed else {
            written.push_str(line);
            written.push('\n');
            continue;
        };
        let (name, kind): (Cow<'_, str>, _) = match kind {
            "counter" => (format!("{stem}_total").into(), "counter"),
            "info" => (format!("{stem}_info").into(), "gauge"),
            other => (stem.into(), other),
        };
        if let Some((_, help)) = help.take() {
            written.extend(["# HELP ", &name, " ", help, "\n"]);
        }
        written.extend(["# TYPE ", &name, " ", kind, "\n"]);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_that_it_prefers() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
                          text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let table = [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            ("text/plain; version=0.0.4, application/openmetrics-text; q=0.9", Format::Prometheus),
            ("application/openmetrics-text; q=0", Format::Prometheus),
            ("application/vnd.google.protobuf, text/plain; q=0.5", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("", Format::Prometheus),
            ("application/openmetrics-text; q=nonsense", Format::Prometheus),
        ];
        for (accept, expected) in table {
            assert_eq!(Format::preferred(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn the_older_format_describes_each_sample_by_its_own_name() {
        let open = "# HELP a Things.\n# TYPE a counter\na_total{x=\"1\"} 2\n\
                    # HELP b_seconds Time.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 1.5\n\
                    # HELP c Build.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let old = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n\
                   # HELP b_seconds Time.\n# TYPE b_seconds gauge\nb_seconds 1.5\n\
                   # HELP c_info Build.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(Format::Prometheus.of_open_metrics(open.into()), old);
        assert_eq!(Format::OpenMetrics.of_open_metrics(open.into()), open);
    }
}
