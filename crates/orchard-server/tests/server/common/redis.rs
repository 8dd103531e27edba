//! A client of the Redis protocol that shows replies as text.

#![allow(dead_code, reason = "each test binary uses its part")]

use super::TestServer;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

pub struct RedisClient {
    pub stream: BufReader<TcpStream>,
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
        RedisClient { stream: BufReader::new(TcpStream::connect(self.address).expect("the server listens")) }
    }
}

impl RedisClient {
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the server takes it");
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
        self.stream.read_until(b'\n', &mut line).expect("a line");
        assert!(line.ends_with(b"\r\n"), "no line: {}", line.escape_ascii());
        let line = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
        let (mark, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().unwrap_or_else(|_| panic!("{line}"));
        match mark {
            "$" | "=" if number() >= 0 => {
                let mut bytes = vec![0; usize::try_from(number()).expect("a length") + 2];
                self.stream.read_exact(&mut bytes).expect("a bulk string");
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
        let _ = self.stream.read_to_end(&mut rest);
        rest.escape_ascii().to_string()
    }
}
