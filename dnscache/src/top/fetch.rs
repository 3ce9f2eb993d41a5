//! Asks a cache for its page `/hot`, and trusts nothing in it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::admin::hot::{HotNameReading, HotReading};

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody listens there, or the text is no address.
    #[error(
        "cannot connect to {address}: {error}; --address wants the HOST:PORT of the cache's \
         `prometheus` directive, such as 127.0.0.1:9253"
    )]
    Connect {
        /// What was asked for.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// No connection or no whole reply in time.
    #[error("{0} did not answer within {secs} s", secs = PATIENCE.as_secs())]
    Silent(String),
    /// Not HTTP, or broken off.
    #[error("{address} does not speak HTTP: {error}")]
    Broken {
        /// Who was asked.
        address: String,
        /// What went wrong.
        error: String,
    },
    /// HTTP, but no such page.
    #[error("{address} has no page /hot ({status}): is it the `prometheus` address of dnscache?")]
    NoPage {
        /// Who was asked.
        address: String,
        /// What it said.
        status: StatusCode,
    },
    /// A page, but not ours.
    #[error("what {address} serves as /hot is not dnscache's: {error}")]
    NotOurs {
        /// Who was asked.
        address: String,
        /// What does not fit.
        error: String,
    },
}

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names asked for. More than a screen ever shows, few enough to be asked for every second.
const NAMES_MAX: usize = 1_000;
/// Octets of a page. Names of full length with four suffixes each would need two thirds of it.
const PAGE_MAX: usize = 8 << 20;

/// The hottest names of the cache at `address`, and its numbers.
pub async fn fetch(address: &str) -> Result<HotReading, FetchError> {
    let address = printable(address);
    let asked = timeout(PATIENCE, ask(&address)).await;
    asked.unwrap_or_else(|_| Err(FetchError::Silent(address.clone())))
}

async fn ask(address: &str) -> Result<HotReading, FetchError> {
    let connected = TcpStream::connect(address).await;
    let stream =
        connected.map_err(|error| FetchError::Connect { address: address.to_owned(), error })?;
    let page = page(stream, address).await?;
    read(&page).map_err(|error| FetchError::NotOurs { address: address.to_owned(), error })
}

async fn page(stream: TcpStream, address: &str) -> Result<Bytes, FetchError> {
    let broken = |error: hyper::Error| FetchError::Broken {
        address: address.to_owned(),
        error: printable(&error.to_string()),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the sender, or earlier with an error, which the sender hears of as well.
    tokio::spawn(connection);
    let request = Request::builder()
        .uri(format!("/hot?limit={NAMES_MAX}"))
        .header(HOST, address)
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| FetchError::Broken {
        address: address.to_owned(),
        error: error.to_string(),
    })?;
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::NoPage { address: address.to_owned(), status: response.status() });
    }
    let body = Limited::new(response.into_body(), PAGE_MAX).collect().await;
    let body = body.map_err(|error| FetchError::Broken {
        address: address.to_owned(),
        error: printable(&error.to_string()),
    })?;
    Ok(body.to_bytes())
}

/// Reads a page so that all of it can be shown.
fn read(page: &[u8]) -> Result<HotReading, String> {
    let reading: Result<HotReading, _> = serde_json::from_slice(page);
    let mut reading = reading.map_err(|error| printable(&error.to_string()))?;
    reading.uptime_secs = reading.uptime_secs.clamp(0.0, UPTIME_MAX_SECS);
    reading.names.truncate(NAMES_MAX);
    reading.names.iter_mut().for_each(make_printable);
    Ok(reading)
}

fn make_printable(name: &mut HotNameReading) {
    name.name = printable(&name.name);
    name.per_second = name.per_second.clamp(0.0, RATE_MAX);
    name.types.iter_mut().for_each(|text| *text = printable(text));
    for way in &mut name.ways {
        way.suffix = printable(&way.suffix);
        way.share = way.share.clamp(0.0, 1.0);
    }
}

/// A thousand years; only numbers that fit a column are shown.
const UPTIME_MAX_SECS: f64 = 31_557_600_000.0;
/// More questions per second than any cache answers.
const RATE_MAX: f64 = 1e9;
/// Characters of the longest name when each of its octets is written as `\000`.
const TEXT_MAX: usize = 1020;

/// Without anything a terminal might act on. Caches write names in ASCII and escape the rest, so
/// nothing is lost of theirs.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(TEXT_MAX).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::top::rows::tests::reading;

    /// Answers one request with these octets and tells what is made of them.
    async fn fetch_from(reply: Vec<u8>) -> Result<HotReading, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 1024];
            let len = stream.read(&mut request).await.expect("a request");
            // The client may have had enough before the end.
            let _ = stream.write_all(&reply).await;
            String::from_utf8_lossy(&request[..len]).into_owned()
        });
        let fetched = fetch(&address).await.map_err(|error| error.to_string());
        let request = serving.await.expect("no panic");
        assert!(request.starts_with("GET /hot?limit=1000 HTTP/1.1\r\n"), "{request}");
        fetched.map_err(|error| error.replace(&address, "ADDRESS"))
    }

    fn http(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn a_page_is_read() {
        let body = serde_json::to_vec(&reading()).expect("JSON");
        assert_eq!(fetch_from(http("200 OK", &body)).await, Ok(reading()));
    }

    #[tokio::test]
    async fn what_is_no_page_of_ours_is_told_apart() {
        for (reply, words) in [
            (http("404 Not Found", b""), "ADDRESS has no page /hot (404 Not Found): is it"),
            (http("200 OK", b"<html>"), "ADDRESS serves as /hot is not dnscache's: expected value"),
            (http("200 OK", b"{}"), "ADDRESS serves as /hot is not dnscache's: missing field"),
            (http("200 OK", b"[\"\x1b[2J\"]"), "is not dnscache's"),
            (b"SSH-2.0-x\r\n".to_vec(), "ADDRESS does not speak HTTP"),
            (http("200 OK", &vec![b' '; PAGE_MAX + 1]), "ADDRESS does not speak HTTP: length"),
            (Vec::new(), "ADDRESS does not speak HTTP"),
        ] {
            let error = fetch_from(reply).await.expect_err(words);
            assert!(error.contains(words), "{error}");
            assert!(!error.contains(char::is_control), "{error}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_what_would_be_right() {
        for address in ["127.0.0.1:1", "nonsense", "127.0.0.1:99999\x1b"] {
            let error = fetch(address).await.expect_err("nobody").to_string();
            assert!(error.contains("cannot connect to") && error.contains("`prometheus`"));
            assert!(!error.contains('\x1b'), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let error = fetch(&address).await.expect_err("silence").to_string();
        assert_eq!(error, format!("{address} did not answer within 5 s"));
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_act_on() {
        let mut hostile = reading();
        hostile.uptime_secs = f64::MAX;
        hostile.names[0].name = format!("\x1b]0;x\x07{}\u{202e}", "a".repeat(5000));
        hostile.names[0].per_second = -1.0;
        hostile.names[0].types = vec!["A\r\n".to_owned()];
        hostile.names[0].ways[0].suffix = "\u{9b}2J".to_owned();
        hostile.names[0].ways[0].share = 1e300;
        let read = read(&serde_json::to_vec(&hostile).expect("JSON")).expect("the shape");
        let name = &read.names[0];
        assert!(name.name.starts_with("?]0;x?aaa") && name.name.len() == TEXT_MAX);
        assert_eq!((name.types[0].as_str(), name.ways[0].suffix.as_str()), ("A??", "?2J"));
        assert_eq!((name.per_second, name.ways[0].share), (0.0, 1.0));
        assert_eq!(read.uptime_secs, UPTIME_MAX_SECS);
    }
}
