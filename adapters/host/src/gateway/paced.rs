//! A large answer that keeps its place until it is written: a caller that reads slowly, or not at all, holds memory for as
//! long, and is counted for as long.

use axum::body::{Body, Bytes};
use futures_util::stream;
use std::convert::Infallible;
use tokio::sync::OwnedSemaphorePermit;

/// What is handed on at once: below what a connection collects for the socket, so that the last piece leaves when the rest
/// is written.
const PIECE: usize = 64 << 10;

/// The bytes as a body; the place is free again when the last piece was taken, or the body is dropped.
pub(super) fn paced(bytes: Bytes, place: OwnedSemaphorePermit) -> Body {
    Body::from_stream(stream::unfold((bytes, place), |(mut rest, place)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        Some((Ok::<_, Infallible>(piece), (rest, place)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn the_place_is_held_until_all_is_taken() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let bytes = Bytes::from(vec![7; 3 * PIECE + 1]);
        let mut body = paced(bytes.clone(), place);
        let mut taken = Vec::new();
        while let Some(frame) = body.frame().await {
            assert_eq!(places.available_permits(), 0, "after {} bytes", taken.len());
            taken.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert_eq!((taken, places.available_permits()), (bytes.to_vec(), 1));
        // A caller that goes away frees it too.
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        drop(paced(bytes, place));
        assert_eq!(places.available_permits(), 1);
    }
}
