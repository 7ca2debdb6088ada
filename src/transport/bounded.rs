//! A connection that brings no more than an answer may have, and no faster than its share.
//!
//! A deadline ends an attempt, but until then a receiver could keep a core busy with what never becomes an answer:
//! interim responses, the digits of a chunk's size, frames of HTTP/2 that mean nothing. Parsers take all that there is
//! to take in one go; so what there is, is bounded here, below TLS.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::ops::clock::monotonic;

/// One turn of a connection.
const TURN: Duration = Duration::from_millis(50);
/// Bytes that a connection brings in one turn, and a buffer more.
const BYTES_A_TURN: usize = 128 * 1024;
/// Bytes around an answer's body: TLS, heads, chunks, frames.
const AROUND_A_BODY: usize = 1024 * 1024;

/// More came than an answer may have.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes came without an end of the answer")]
struct TooMuch(usize);

/// A bounded connection.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: TcpStream,
    /// Most bytes that may come before anything is said again.
    most: usize,
    unanswered: usize,
    left: usize,
    since: Instant,
    /// Until the next turn, where nothing is left of this one.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Bounded {
    /// Bounds a connection for answers whose bodies are read up to a cap.
    pub(super) fn new(stream: TcpStream, response_cap: usize) -> Self {
        let most = response_cap.saturating_mul(2).saturating_add(AROUND_A_BODY);
        Self { stream, most, unanswered: 0, left: BYTES_A_TURN, since: monotonic(), pause: None }
    }

    /// Waits until something may come.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let gone = monotonic().duration_since(self.since);
        if gone >= TURN {
            (self.left, self.since) = (BYTES_A_TURN, monotonic());
        } else if self.left == 0 {
            let mut pause = Box::pin(tokio::time::sleep(TURN.saturating_sub(gone)));
            let waiting = pause.as_mut().poll(context);
            self.pause = Some(pause);
            return waiting;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unanswered > this.most {
            return Poll::Ready(Err(io::Error::other(TooMuch(this.most))));
        }
        ready!(this.poll_turn(context));
        let before = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
        let came = into.filled().len() - before;
        this.unanswered += came;
        this.left = this.left.saturating_sub(came);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.unanswered = 0;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.unanswered = 0;
        Pin::new(&mut this.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
