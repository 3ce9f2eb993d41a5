//! The text a scraper asks for.

/// The two text forms a scraper may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm {
    /// OpenMetrics 1.0, which Prometheus prefers.
    OpenMetrics,
    /// The older Prometheus text form 0.0.4, which everything understands.
    Prometheus,
}

impl TextForm {
    /// The form for a request with this `Accept` header: OpenMetrics only if it is named.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// Turns a page of OpenMetrics into this form.
    pub(super) fn of(self, page: String) -> String {
        match self {
            Self::OpenMetrics => page,
            Self::Prometheus => without_open_metrics(&page),
        }
    }

    /// The `Content-Type` of the page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Rewrites OpenMetrics as Prometheus text: there a counter's family is named like its samples,
/// with `_total`, and there is no end mark.
fn without_open_metrics(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + page.len() / 16);
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let counter = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
            .filter(|(name, _)| lines.peek() == Some(&format!("# TYPE {name} counter").as_str()));
        match counter {
            Some((name, help)) => {
                out.push_str(&format!("# HELP {name}_total {help}\n# TYPE {name}_total counter\n"));
                lines.next();
            }
            None if line == "# EOF" => {}
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_like_their_samples() {
        let page = "# HELP a Counted things.\n# TYPE a counter\na_total{x=\"# EOF\"} 1\n\
                    # HELP b Of b.\n# TYPE b gauge\nb 2\n\
                    # HELP c Of c.\n# TYPE c histogram\nc_sum 0.0\nc_count 0\n\
                    # EOF\n";
        assert_eq!(
            TextForm::Prometheus.of(page.to_owned()),
            "# HELP a_total Counted things.\n# TYPE a_total counter\na_total{x=\"# EOF\"} 1\n\
             # HELP b Of b.\n# TYPE b gauge\nb 2\n\
             # HELP c Of c.\n# TYPE c histogram\nc_sum 0.0\nc_count 0\n"
        );
        assert_eq!(TextForm::OpenMetrics.of(page.to_owned()), page);
    }

    #[test]
    fn open_metrics_is_for_those_who_name_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3";
        assert_eq!(TextForm::accepted(Some(prometheus)), TextForm::OpenMetrics);
        for accept in [None, Some("*/*"), Some("text/plain;version=0.0.4"), Some("")] {
            assert_eq!(TextForm::accepted(accept), TextForm::Prometheus);
        }
    }
}
