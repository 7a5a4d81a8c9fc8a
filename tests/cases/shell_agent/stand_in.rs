//! A service that says whatever a test wants it to say, in the guest itself: what the real one never
//! would, since it takes no such value from an operator.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

use mezame_tests::namespace::Namespace;

/// Its endpoint, as the agent is told it.
pub(super) struct StandIn {
    pub(super) endpoint: String,
}

impl StandIn {
    /// Answers these paths below `/mezame/v1/`, and everything else with 404. Its thread ends with
    /// the process.
    pub(super) fn start(place: &Namespace, texts: &[(&str, &[u8])]) -> Self {
        let listener = place.run(|| TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let texts: BTreeMap<String, Vec<u8>> = texts
            .iter()
            .map(|(path, text)| (format!("/mezame/v1/{path}"), text.to_vec()))
            .collect();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in the middle is its own business.
                let _ = answer(stream, &texts);
            }
        });
        Self { endpoint }
    }
}

fn answer(mut stream: TcpStream, texts: &BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match (method, texts.get(path)) {
        ("POST", _) => ("204 No Content", &[][..]),
        ("GET", Some(text)) => ("200 OK", text.as_slice()),
        _ => ("404 Not Found", &[][..]),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}
