//! A ledger that takes nothing for a while, as on a disk that hangs.

use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, block_in_place};
use yiwang_hub::ledger::{Appended, Draft, Ledger, Linear};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;

/// Holds the sequencer up until it is let go; becomes no entry.
struct Held {
    begun: Sender<()>,
    go: Receiver<()>,
}

impl Draft for Held {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        // An end of the test lets go too.
        let _ = (self.begun.send(()), self.go.recv());
        Err(Code::NotFound)
    }
}

/// What holds the ledger up until [`HeldUp::let_go`] or its end.
pub struct HeldUp {
    go: Sender<()>,
    holding: JoinHandle<Result<Appended, Code>>,
}

impl HeldUp {
    /// Returns once the ledger's batch is held up. Needs a runtime with several threads.
    pub fn new(ledger: &Ledger) -> Self {
        let ((begun, has_begun), (go, wait)) = (channel(), channel());
        let ledger = ledger.clone();
        let holding = tokio::spawn(async move { ledger.append(Box::new(Held { begun, go: wait })).await });
        block_in_place(|| has_begun.recv().unwrap());
        Self { go, holding }
    }

    /// The ledger goes on.
    pub async fn let_go(self) {
        self.go.send(()).unwrap();
        assert_eq!(self.holding.await.unwrap().err(), Some(Code::NotFound));
    }
}
