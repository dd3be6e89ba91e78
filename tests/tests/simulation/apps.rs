//! The street office's apps: they ask, verify, keep, and ask again.

use super::chance::Dice;
use super::network::Wire;
use super::template::{APPS, STREET};
use super::town::{DESK, Said, Town};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use yiwang_client::client::Client;
use yiwang_client::error::ClientError;
use yiwang_client::exchange::{Ask, Ending, SignedRequest};
use yiwang_client::folder::{Folder, FolderHeads};
use yiwang_client::sealed::Manner;
use yiwang_proto::body::Arguments;
use yiwang_proto::ids::{AppId, CaseId, Matter, Operation};
use yiwang_tests::member::app_identity;
use yiwang_tests::scene::fields;

/// The person that everybody asks about.
const SUBJECT: &str = "980101199001010017";
/// An app gives up waiting; the hub's own deadlines are shorter.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where an app keeps what it received.
pub fn kept(town: &Town, app: usize) -> PathBuf {
    town.dir.join("kept").join(APPS[app])
}

/// All apps of the host.
pub async fn desk(town: Arc<Town>) -> turmoil::Result {
    let apps = (0..APPS.len()).map(|app| asking(Arc::clone(&town), app));
    futures_util::future::join_all(apps).await;
    Ok(())
}

async fn asking(town: Arc<Town>, app: usize) {
    let dice = Dice::new(town.seed, &format!("app {app} from {}", town.time.ms()));
    let client = client(&town, app);
    while !town.last_call.load(Ordering::SeqCst) && client.meet().await.is_err() {
        tokio::time::sleep(dice.ms(200, 1000)).await;
    }
    let mut case = None;
    while !town.last_call.load(Ordering::SeqCst) {
        tokio::time::sleep(dice.ms(100, 900)).await;
        if case.is_none() || dice.percent(5) {
            case = opened(&town, &client, app).await.or(case);
        }
        let Some(case) = &case else { continue };
        let question = usize::try_from(dice.below(3)).unwrap();
        let signed = signed(&town, &client, question, case).await;
        let answered = asked(&town, &client, app, question, &signed).await;
        // Some send the same bytes again, as those do that got no answer.
        if dice.percent(if answered { 5 } else { 30 }) {
            asked(&town, &client, app, question, &signed).await;
        }
    }
}

fn client(town: &Town, app: usize) -> Client {
    let folder = Folder::open(&town.member_dir(STREET)).unwrap();
    let host = town.host(DESK);
    let channel = folder.enrolled().unwrap().channel_lazy_over(Wire, Arc::clone(&host.clock)).unwrap();
    let heads = Arc::new(FolderHeads::open(folder.enrolled().unwrap().clone()).unwrap());
    let identity = app_identity(&folder, &AppId::parse(APPS[app]).unwrap());
    let (clock, entropy) = (Arc::clone(&host.clock), Arc::clone(&host.entropy));
    let folder = kept(town, app);
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    Client::new(identity, channel, heads, clock, entropy).unwrap().keeping(&folder).unwrap()
}

async fn opened(town: &Town, client: &Client, app: usize) -> Option<CaseId> {
    let matter = Matter::parse("social-assistance").unwrap();
    let subjects = [SUBJECT.to_owned()];
    let opening = tokio::time::timeout(PATIENCE, client.open_case(&matter, &subjects)).await;
    match opening {
        Ok(Ok((case, receipt))) => {
            town.note(format_args!("{} opens a case: entry {}", APPS[app], receipt.index));
            return Some(case);
        }
        Ok(Err(ClientError::Unverified(why))) => town.wrong(format_args!("a case: {why}")),
        Ok(Err(error)) => town.note(format_args!("{} opens no case: {error}", APPS[app])),
        Err(_) => town.note(format_args!("{} opens no case in time", APPS[app])),
    }
    None
}

async fn signed(town: &Town, client: &Client, question: usize, case: &CaseId) -> SignedRequest {
    let asked = &town.template.questions[question];
    let ask = Ask {
        operation: Operation::parse(asked.operation).unwrap(),
        fields: fields(asked.fields),
        case: case.clone(),
        officer: None,
        subject: SUBJECT.to_owned(),
        arguments: Arguments::new(),
        retry_of: None,
    };
    client.prepare_together(&asked.contract, &ask, Manner::default()).await
}

/// How long an app pauses after an exchange. What a provider takes back, the client lets a real thread of tokio's write.
/// The host's time stands still meanwhile, but the machine decides what else of that millisecond comes before its end.
/// So nothing but this pause begins then; what follows the pause has its place by the seed, each app its own.
fn own_moment(app: usize) -> Duration {
    Duration::from_millis(1 + app as u64)
}

/// Sends and notes what came back; true for an answer.
async fn asked(town: &Town, client: &Client, app: usize, question: usize, signed: &SignedRequest) -> bool {
    let sent_ms = town.time.ms();
    let contract = &town.template.questions[question].contract;
    let exchanged = tokio::time::timeout(PATIENCE, client.exchange(contract, signed)).await;
    tokio::time::sleep(own_moment(app)).await;
    let outcome = match exchanged {
        Err(_) => "nothing in time".to_owned(),
        Ok(Ok(exchanged)) => match exchanged.ending {
            Ending::Answered { .. } => format!("answered, entry {}", exchanged.receipt.index),
            Ending::Denied { code, .. } | Ending::Failed { code } => {
                format!("{code}, entry {}", exchanged.receipt.index)
            }
        },
        Ok(Err(ClientError::Unverified(why))) => {
            // What was answered before a revocation, or while the provider was cut off, an app may get and not use.
            let may_be = why.contains("newest standing is over") || why.contains("revoked a key");
            if !may_be {
                town.wrong(format_args!("an answer does not verify: {why}"));
            }
            format!("unverified: {why}")
        }
        Ok(Err(ClientError::Hub { code })) => format!("unrecorded {code}"),
        Ok(Err(error)) => format!("no answer: {error}"),
    };
    let answered = outcome.starts_with("answered");
    town.say(Said { app, question, sent_ms, outcome });
    answered
}
