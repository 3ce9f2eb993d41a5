//! What a path answers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::metrics::Metrics;
use super::text_form::TextForm;

/// The pages of one address; a page that is not configured there does not exist there.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// `/metrics`.
    pub metrics: Option<Arc<Metrics>>,
    /// `/hot` beside it.
    pub hot: bool,
    /// `/health`: 200 for as long as the process serves, the lameduck time included, because a
    /// liveness probe that fails then would only get the process killed while it drains.
    pub health: bool,
    /// `/ready`.
    pub ready: Option<Arc<Readiness>>,
}

impl Pages {
    /// Answers a request. Only GET and HEAD exist, and only the exact paths: nothing is decoded or
    /// shortened, so a path with dots or escapes is just a path we do not have.
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match (request.uri().path(), &self.metrics, self.health, &self.ready) {
            ("/metrics", Some(metrics), _, _) => scrape(metrics, request),
            ("/hot", Some(metrics), _, _) if self.hot => hot(metrics, request.uri().query()),
            ("/clients", Some(metrics), _, _) if self.hot => clients(metrics),
            ("/health", _, true, _) => plain(StatusCode::OK, "OK"),
            ("/ready", _, _, Some(readiness)) => ready(readiness),
            _ => not_found(),
        }
    }
}

fn scrape<B>(metrics: &Metrics, request: &Request<B>) -> Response<Full<Bytes>> {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = TextForm::accepted(accept);
    page(StatusCode::OK, form.content_type(), metrics.scrape(form).into())
}

fn hot(metrics: &Metrics, query: Option<&str>) -> Response<Full<Bytes>> {
    let Some(limit) = limit(query) else {
        return plain(StatusCode::BAD_REQUEST, "expected ?limit=NAMES or nothing\n");
    };
    let Some(mut reading) = metrics.hot() else {
        return not_found();
    };
    reading.names.truncate(limit);
    let body = serde_json::to_vec(&reading).expect("text and numbers have a JSON form");
    page(StatusCode::OK, "application/json", body.into())
}

fn clients(metrics: &Metrics) -> Response<Full<Bytes>> {
    let Some(reading) = metrics.clients() else {
        return not_found();
    };
    let body = serde_json::to_vec(&reading).expect("text and numbers have a JSON form");
    page(StatusCode::OK, "application/json", body.into())
}

/// Most names on a page; also the most that can be followed.
const NAMES_MAX: usize = 10_000;

/// How many names are asked for; `None` if that is not what is asked.
fn limit(query: Option<&str>) -> Option<usize> {
    match query {
        None | Some("") => Some(NAMES_MAX),
        Some(query) => Some(query.strip_prefix("limit=")?.parse::<usize>().ok()?.min(NAMES_MAX)),
    }
}

fn not_found() -> Response<Full<Bytes>> {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn ready(readiness: &Readiness) -> Response<Full<Bytes>> {
    match readiness.missing() {
        None => plain(StatusCode::OK, "OK"),
        Some(missing) => plain(StatusCode::SERVICE_UNAVAILABLE, missing),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", text.into())
}

fn page(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Whether traffic should come here: everything that had to be brought up is up, and the process
/// has not been told to end.
#[derive(Debug)]
pub struct Readiness(Mutex<State>);

#[derive(Debug)]
struct State {
    missing: BTreeSet<&'static str>,
    ending: bool,
}

impl Readiness {
    /// Not ready until each of `parts` has been reported by [`Readiness::done`].
    pub fn awaiting(parts: impl IntoIterator<Item = &'static str>) -> Self {
        Self(Mutex::new(State { missing: parts.into_iter().collect(), ending: false }))
    }

    /// Notes that a part is up.
    pub fn done(&self, part: &str) {
        self.state().missing.remove(part);
    }

    /// Notes that the process has been told to end: not ready from here on.
    pub fn ending(&self) {
        self.state().ending = true;
    }

    /// What is missing, as the page says it; `None` when ready.
    pub fn missing(&self) -> Option<String> {
        let state = self.state();
        if state.ending {
            return Some("Shutting down".to_owned());
        }
        let names: Vec<&str> = state.missing.iter().copied().collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::admin::hot::{HotNameReading, HotReading};
    use crate::admin::metrics::Build;
    use crate::admin::sources::{Source, Sources};

    fn all() -> Pages {
        Pages {
            metrics: Some(Arc::new(Metrics::new(Build::this()))),
            hot: true,
            health: true,
            ready: Some(Arc::new(Readiness::awaiting([]))),
        }
    }

    fn status(pages: &Pages, method: Method, uri: &str) -> u16 {
        let request = Request::builder().method(method).uri(uri).body(()).expect("a request");
        pages.answer(&request).status().as_u16()
    }

    #[test]
    fn only_configured_pages_exist() {
        for path in ["/metrics", "/health", "/ready"] {
            assert_eq!(status(&all(), Method::GET, path), 200, "{path}");
            assert_eq!(status(&Pages::default(), Method::GET, path), 404, "{path}");
        }
        let health_only = Pages { health: true, ..Pages::default() };
        assert_eq!(status(&health_only, Method::GET, "/health"), 200);
        assert_eq!(status(&health_only, Method::GET, "/metrics"), 404);
    }

    #[test]
    fn no_other_path_leads_anywhere() {
        for path in [
            "/",
            "/metrics/",
            "/Metrics",
            "//metrics",
            "/./metrics",
            "/x/../metrics",
            "/../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/%6detrics",
            "/metrics%2f",
            "/health/x",
        ] {
            assert_eq!(status(&all(), Method::GET, path), 404, "{path}");
        }
        assert_eq!(status(&all(), Method::GET, "/metrics?name[]=x"), 200);
    }

    fn with_names(count: usize) -> Pages {
        let name = HotNameReading {
            name: "a.example.".to_owned(),
            per_second: 1.0,
            count: 30,
            saved: 0,
            types: vec!["A".to_owned()],
            ways: Vec::new(),
            trailing_dot: false,
        };
        let reading = HotReading { names: vec![name; count], ..HotReading::default() };
        let metrics = Metrics::new(Build::this());
        let hot: Source<HotReading> = Box::new(move || reading.clone());
        metrics.replace_sources(Sources { hot: Some(hot), ..Sources::default() });
        Pages { metrics: Some(Arc::new(metrics)), hot: true, ..Pages::default() }
    }

    fn names_told(pages: &Pages, uri: &str) -> usize {
        let request = Request::builder().uri(uri).body(()).expect("a request");
        let response = pages.answer(&request);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().now_or_never().expect("the body is whole");
        let body = body.expect("infallible").to_bytes();
        serde_json::from_slice::<HotReading>(&body).expect("the page").names.len()
    }

    #[test]
    fn hot_names_are_told_up_to_a_limit() {
        let pages = with_names(12_000);
        assert_eq!(names_told(&pages, "/hot"), 10_000);
        assert_eq!(names_told(&pages, "/hot?"), 10_000);
        assert_eq!(names_told(&pages, "/hot?limit=7"), 7);
        assert_eq!(names_told(&pages, "/hot?limit=0"), 0);
        assert_eq!(names_told(&pages, "/hot?limit=99999999"), 10_000);
        for uri in ["/hot?limit=", "/hot?limit=-1", "/hot?limit=x", "/hot?sort=name"] {
            assert_eq!(status(&pages, Method::GET, uri), 400, "{uri}");
        }
    }

    #[test]
    fn hot_names_are_told_where_the_metrics_are_and_to_readers_only() {
        assert_eq!(status(&with_names(1), Method::POST, "/hot"), 405);
        assert_eq!(status(&with_names(1), Method::GET, "/hot/"), 404);
        assert_eq!(status(&all(), Method::GET, "/hot"), 404, "there is no source");
        assert_eq!(status(&Pages { health: true, ..Pages::default() }, Method::GET, "/hot"), 404);
    }

    #[test]
    fn nothing_can_be_written() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            assert_eq!(status(&all(), method, "/metrics"), 405);
        }
    }

    #[test]
    fn the_text_form_is_the_one_asked_for() {
        let content_type = |accept: Option<&str>| {
            let mut request = Request::builder().uri("/metrics");
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            let response = all().answer(&request.body(()).expect("a request"));
            response.headers()[CONTENT_TYPE].to_str().expect("ASCII").to_owned()
        };
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3";
        assert!(
            content_type(Some(prometheus)).starts_with("application/openmetrics-text; version=1")
        );
        assert!(content_type(Some("text/plain")).starts_with("text/plain; version=0.0.4"));
        assert!(content_type(None).starts_with("text/plain; version=0.0.4"));
    }

    #[test]
    fn ready_names_what_is_missing() {
        let readiness = Readiness::awaiting(["upstreams", "listeners"]);
        assert_eq!(readiness.missing().as_deref(), Some("listeners,upstreams"));
        readiness.done("listeners");
        assert_eq!(readiness.missing().as_deref(), Some("upstreams"));
        readiness.done("upstreams");
        assert_eq!(readiness.missing(), None);
        readiness.ending();
        assert_eq!(readiness.missing().as_deref(), Some("Shutting down"));
        let pages = Pages { ready: Some(Arc::new(readiness)), health: true, ..Pages::default() };
        assert_eq!(status(&pages, Method::GET, "/ready"), 503);
        assert_eq!(status(&pages, Method::GET, "/health"), 200);
    }
}
