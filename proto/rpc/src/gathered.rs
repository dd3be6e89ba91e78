//! Messages of many tasks for one connection, gathered: each write is a record of TLS and a call of the system, which cost
//! more than a small message does.
//!
//! The runtime runs a task that was just woken before those that wait: without this, each message would be written before the
//! next task comes to send its own. The first message after a pause waits for one turn of the others that are ready, which is
//! none where nobody is.

use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Messages that wait for no more company: a write of as many costs little for each.
const ENOUGH: usize = 16;

/// A queue's messages, as a stream; at most one turn behind them.
pub struct Gathered<T> {
    queue: mpsc::Receiver<T>,
    is_large: fn(&T) -> bool,
    held: Option<T>,
    paused: bool,
    given: bool,
}

impl<T> Gathered<T> {
    /// Of this queue.
    pub fn new(queue: mpsc::Receiver<T>) -> Self {
        Self::apart(queue, |_| false)
    }

    /// Of a queue some of whose messages are large: none of those is behind smaller ones in one write, which would be held up
    /// with it by a reader that is slow.
    pub fn apart(queue: mpsc::Receiver<T>, is_large: fn(&T) -> bool) -> Self {
        Self { queue, is_large, held: None, paused: true, given: false }
    }
}

impl<T: Unpin> Stream for Gathered<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(held) = self.held.take() {
            self.given = true;
            return Poll::Ready(Some(held));
        }
        if std::mem::take(&mut self.paused) && (1..ENOUGH).contains(&self.queue.len()) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.queue.poll_recv(context);
        match next {
            // What was given leaves before it.
            Poll::Ready(Some(message)) if self.given && (self.is_large)(&message) => {
                self.held = Some(message);
                self.given = false;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            next => {
                self.paused = next.is_pending();
                self.given = next.is_ready();
                next
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;

    /// How many messages of ten tasks, ready at once on one thread, and of an eleventh later, are taken together.
    async fn together(
        mut queue: impl Stream<Item = usize> + Send + Unpin + 'static,
        sender: mpsc::Sender<usize>,
    ) -> Vec<usize> {
        let reader = async move {
            let mut came = Vec::new();
            while let Some(chunk) = (&mut queue).ready_chunks(64).next().await {
                came.push(chunk.len());
            }
            came
        };
        let on_the_thread = async move {
            let reader = tokio::spawn(reader);
            tokio::task::yield_now().await;
            let senders: Vec<_> = (0..10)
                .map(|number| {
                    let sender = sender.clone();
                    tokio::spawn(async move { sender.send(number).await.unwrap() })
                })
                .collect();
            for one in senders {
                one.await.unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            sender.send(10).await.unwrap();
            drop(sender);
            reader.await.unwrap()
        };
        tokio::spawn(on_the_thread).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_sent_in_one_turn_is_taken_together_and_a_single_one_too() {
        let (sender, receiver) = mpsc::channel(64);
        assert_eq!(together(Gathered::new(receiver), sender).await, [10, 1]);
        let (sender, receiver) = mpsc::channel(64);
        let as_they_come = tokio_stream::wrappers::ReceiverStream::new(receiver);
        assert!(
            together(as_they_come, sender).await.len() > 2,
            "the runtime does it by itself now: this is needless"
        );
    }

    #[tokio::test]
    async fn a_large_message_is_not_behind_small_ones_in_one_write() {
        let (sender, receiver) = mpsc::channel(64);
        [1, 2, 100, 101, 3, 4, 102].into_iter().for_each(|size| sender.try_send(size).unwrap());
        drop(sender);
        let writes: Vec<_> = Gathered::apart(receiver, |size| *size >= 100).ready_chunks(64).collect().await;
        assert_eq!(writes, [vec![1, 2], vec![100], vec![101, 3, 4], vec![102]]);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_out_of_order_at_the_end() {
        for many in [0, 1, ENOUGH - 1, ENOUGH, 60] {
            let (sender, receiver) = mpsc::channel(64);
            (0..many).for_each(|number| sender.try_send(number).unwrap());
            drop(sender);
            let came: Vec<usize> = Gathered::new(receiver).collect().await;
            assert_eq!(came, (0..many).collect::<Vec<_>>());
        }
    }
}
