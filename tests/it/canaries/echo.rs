//! A receiver that gives away what it is told, in many ways.

use std::fmt::Write as _;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How many ways there are.
pub(super) const WAYS: usize = 18;

/// Starts a receiver; `/N/…` in a path is the way that it answers.
pub(super) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) -> Option<()> {
    let mut heard = Vec::new();
    loop {
        stream.read_buf(&mut heard).await.ok().filter(|read| *read > 0)?;
        let text = String::from_utf8_lossy(&heard).into_owned();
        let Some((top, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = top.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        let way = top.split('/').nth(1)?.parse().ok()?;
        stream.write_all(&answer(way, &text)).await.ok()?;
        return stream.shutdown().await.ok();
    }
}

fn answer(way: usize, heard: &str) -> Vec<u8> {
    let target = heard.split(' ').nth(1).unwrap();
    let fields = || {
        let lines = heard.lines().filter(|line| !line.is_empty()).enumerate();
        lines.fold(String::new(), |mut fields, (number, line)| {
            write!(fields, "x-echo-{number}: {line}\r\n").unwrap();
            fields
        })
    };
    let with_body = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    let with_head = |status: &str, fields: &str| {
        format!("HTTP/1.1 {status}\r\n{fields}content-length: 0\r\nconnection: close\r\n\r\n")
    };
    let each = |spell: fn(u32) -> String| heard.chars().map(|c| spell(u32::from(c))).collect::<String>();
    let text = match way {
        0 => with_body("200 OK", heard),
        1 => with_body("500 No", &STANDARD.encode(heard)),
        2 => with_body("500 No", &STANDARD.encode(format!("x{heard}"))),
        3 => with_body("200 OK", &URL_SAFE_NO_PAD.encode(format!("xy{heard}"))),
        4 => with_body("400 No", &percent_encode(heard.as_bytes(), NON_ALPHANUMERIC).to_string()),
        5 => with_body("200 OK", &hex::encode(heard)),
        6 => with_body("404 No", &hex::encode_upper(heard)),
        7 => with_body("200 OK", &serde_json::to_string(heard).unwrap()),
        8 => with_body("200 OK", &each(|c| format!("\\u{c:04x}"))),
        9 => with_body("403 No", &each(|c| format!("&#{c};"))),
        10 => with_head("302 Found", &format!("location: {target}\r\n")),
        11 => with_head("400 No", &fields()),
        12 => with_head("200 OK", &format!("x-echo: {}\r\n", STANDARD.encode(heard))),
        // A body that breaks off, also in the middle of something.
        13 => format!("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{heard}"),
        14 => format!("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{}", &heard[..heard.len() * 2 / 3]),
        // No answer at all.
        15 => heard.to_owned(),
        16 => format!("HTTP/1.1 400 {}\r\ncontent-length: 0\r\n\r\n", target.replace('/', " ")),
        // What is kept of a body ends within the echo.
        _ => with_body("200 OK", &format!("{}{heard}", "x".repeat(4_096 - target.len()))),
    };
    text.into_bytes()
}
