//! A client's chunked body on its way to the handler: it flows, and what was not begun comes back.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};

use super::link::{BodyError, Outgoing};

/// A body that can be sent once, by a try that reads it. A try that could not connect reads nothing.
pub(super) struct Stream(Arc<Mutex<Option<Limited<Incoming>>>>);

impl Stream {
    /// Beyond `limit` bytes the body breaks off: the handler must not take it for a whole one.
    pub(super) fn new(body: Incoming, limit: u64) -> Stream {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Stream(Arc::new(Mutex::new(Some(Limited::new(body, limit)))))
    }

    /// The body for one try; none when an earlier one has begun to read it.
    pub(super) fn lend(&self) -> Option<Outgoing> {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Lent { body: Some(body), begun: false, owner: self.0.clone() }.boxed_unsync())
    }
}

struct Lent {
    body: Option<Limited<Incoming>>,
    begun: bool,
    owner: Arc<Mutex<Option<Limited<Incoming>>>>,
}

impl Body for Lent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.begun = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.begun {
            *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}
