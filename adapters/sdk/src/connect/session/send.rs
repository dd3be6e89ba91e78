//! Sending an answer: its statement first, its body in parts that the hub gave credit for.

use super::frame;
use crate::reply::Reply;
use tokio::sync::{Semaphore, mpsc};
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as ToHub;

/// Sends an answer in chunks, each within the credit that the hub gave for this exchange.
pub(super) async fn send(
    exchange: u64,
    reply: Reply,
    part_bytes: usize,
    answers: &mpsc::Sender<pb::AdapterFrame>,
    credit: &Semaphore,
) {
    let Reply { mut answer, mut body } = reply;
    let mut chunk = 0;
    loop {
        let part = body.split_to(body.len().min(part_bytes));
        let last = body.is_empty();
        if !part.is_empty() {
            // Both cannot fail: a chunk is far under 4 GiB, and nobody closes the semaphore.
            let Ok(bytes) = u32::try_from(part.len()) else { return };
            let Ok(permit) = credit.acquire_many(bytes).await else { return };
            permit.forget();
        }
        let answer = std::mem::take(&mut answer);
        let sent = pb::AnswerChunk { exchange, chunk, last, answer, body: part };
        // A closed queue belongs to a link that is gone.
        if answers.send(frame(ToHub::Answer(sent))).await.is_err() || last {
            return;
        }
        chunk += 1;
    }
}
