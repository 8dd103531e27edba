//! A client of the Redis protocol that shows replies as text.

#![allow(dead_code, reason = "each test binary uses its part")]

use super::TestServer;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that is silent for so long hangs: the test fails and says what it waited for.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub struct RedisClient {
    pub stream: BufReader<TcpStream>,
    /// The last bytes that were sent.
    sent: Vec<u8>,
}

/// A request as an array of bulk strings.
pub fn request<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

impl TestServer {
    pub fn redis(&self) -> RedisClient {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(SILENCE_MAX)).expect("a timeout");
        }
        RedisClient { stream: BufReader::new(stream), sent: Vec::new() }
    }
}

impl RedisClient {
    pub fn write(&mut self, bytes: &[u8]) {
        const SHOWN_BYTES: usize = 300;
        self.sent = bytes[..bytes.len().min(SHOWN_BYTES)].to_vec();
        if let Err(error) = self.stream.get_mut().write_all(bytes) {
            self.fail("the server did not take", &error);
        }
    }

    /// Ends the test.
    fn fail(&self, what: &str, error: &std::io::Error) -> ! {
        panic!("{what} {}: {error}", self.sent.escape_ascii())
    }

    /// One command and its reply.
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> String {
        self.write(&request(words));
        self.read()
    }

    /// One command of words that hold no spaces, and its reply.
    pub fn run(&mut self, line: &str) -> String {
        self.send(&line.split(' ').collect::<Vec<_>>())
    }

    /// Runs each line and holds its reply against what is expected.
    pub fn check(&mut self, lines: &[(&str, &str)]) {
        for (line, expected) in lines {
            assert_eq!(self.run(line), *expected, "{line}");
        }
    }

    /// The next reply: as sent for simple ones, bulk strings in quotes, `nil`, arrays `[a, b]`, maps `{a: b}`, sets
    /// `~[a]`, pushes `>[a]`.
    pub fn read(&mut self) -> String {
        let mut line = Vec::new();
        if let Err(error) = self.stream.read_until(b'\n', &mut line) {
            self.fail("no reply; sent last was", &error);
        }
        assert!(line.ends_with(b"\r\n"), "no line: {}", line.escape_ascii());
        let line = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
        let (mark, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().unwrap_or_else(|_| panic!("{line}"));
        match mark {
            "$" | "=" if number() >= 0 => {
                let mut bytes = vec![0; usize::try_from(number()).expect("a length") + 2];
                if let Err(error) = self.stream.read_exact(&mut bytes) {
                    self.fail("no whole reply; sent last was", &error);
                }
                let text = bytes[..bytes.len() - 2].escape_ascii().to_string();
                if mark == "=" { format!("={text}") } else { format!("\"{}\"", text.replace("\\'", "'")) }
            }
            "$" | "*" if number() < 0 => if mark == "$" { "nil" } else { "nil-array" }.to_owned(),
            "*" | "~" | ">" => {
                let items: Vec<_> = (0..number()).map(|_| self.read()).collect();
                format!("{}[{}]", if mark == "*" { "" } else { mark }, items.join(", "))
            }
            "%" => {
                let items: Vec<_> =
                    (0..number()).map(|_| format!("{}: {}", self.read(), self.read())).collect();
                format!("{{{}}}", items.join(", "))
            }
            _ => line,
        }
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end, too.
        if let Err(error) = self.stream.read_to_end(&mut rest)
            && matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        {
            self.fail("the server did not close; sent last was", &error);
        }
        rest.escape_ascii().to_string()
    }
}
