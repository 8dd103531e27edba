//! A server on a free port, and a client that sends bytes exactly as told.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod redis;

use orchard_server::{ServeError, ServerOptions, serve};
use orcharddb::Db;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

pub struct TestServer {
    pub db: Db,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

/// A free port on loopback, and what waits for clients.
pub fn options() -> ServerOptions {
    ServerOptions { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..ServerOptions::default() }
}

impl TestServer {
    pub fn memory() -> TestServer {
        TestServer::start(Db::memory().expect("memory opens"), options())
    }

    pub fn start(db: Db, options: ServerOptions) -> TestServer {
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = db.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(serve(
                served,
                options,
                async {
                    let _ = stopped.await;
                },
                |address| ready.send(address).expect("the test waits"),
            ))
        });
        let address = is_ready.recv().expect("the server starts");
        TestServer { db, address, stop: Some(stop), thread: Some(thread) }
    }

    /// Asks for a graceful stop and goes on at once.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until `serve` has returned.
    pub fn join(mut self) {
        self.begin_stop();
        let served = self.thread.take().expect("joined once").join();
        served.expect("no panic").expect("it served");
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.client().send(method, target, headers, body)
    }

    pub fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], b"")
    }

    pub fn put(&self, target: &str, content_type: &str, body: &[u8]) -> Reply {
        self.send("PUT", target, &[("content-type", content_type)], body)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub struct Client {
    pub stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and the stable code of a problem.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status);
        (self.status, json["code"].as_str().expect("a code").to_owned())
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client { stream: BufReader::new(TcpStream::connect(address).expect("the server listens")) }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the server takes it");
    }

    pub fn end_writing(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).expect("it is open");
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        self.write(request.as_bytes());
        self.write(body);
        self.read(method == "HEAD")
    }

    /// The next line that the server sends, whatever it is.
    pub fn next_line(&mut self) -> String {
        self.line()
    }

    /// The next chunk of a body that is sent in chunks, as text; `None` at its end.
    pub fn chunk(&mut self) -> Option<String> {
        let size = usize::from_str_radix(&self.line(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).expect("a chunk");
        chunk.truncate(size);
        (size > 0).then(|| String::from_utf8(chunk).expect("UTF-8"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The next reply.
    pub fn read(&mut self, is_head: bool) -> Reply {
        let status_line = self.line();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {status_line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        if is_head || status == 304 || status == 100 {
            return reply;
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line(), 16).expect("a chunk's size");
                let mut chunk = vec![0; size + 2];
                self.stream.read_exact(&mut chunk).expect("a chunk");
                reply.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    return reply;
                }
            }
        }
        let length = reply.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        reply.body.resize(length, 0);
        self.stream.read_exact(&mut reply.body).expect("the body");
        reply
    }
}
