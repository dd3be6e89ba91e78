//! `yiwang case`: open, add, close, show.

use crate::fail::{Failure, Outcome};
use crate::hints;
use crate::setup::{self, AppArgs};
use clap::{Args, Subcommand};
use yiwang_proto::case::{Act, REASONS};
use yiwang_proto::ids::{CaseId, Matter};
use yiwang_proto::nearest::meant_or_known;
use yiwang_proto::pb;
use yiwang_proto::time::format_rfc3339;

/// Some numbers were issued with a check character that does not fit, and are used so everywhere.
#[derive(Args)]
pub struct Issued {
    /// The identifiers stand in their documents just so, also where a check character does not fit.
    #[arg(long)]
    pub as_issued: bool,
}

/// The case itself, or as all other commands take it.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The case.
    #[arg(value_name = "CASE")]
    case: Option<CaseId>,
    /// The case, as other commands take it.
    #[arg(long = "case", value_name = "CASE")]
    named: Option<CaseId>,
}

impl Which {
    fn case(&self) -> Result<&CaseId, Failure> {
        self.case
            .as_ref()
            .or(self.named.as_ref())
            .ok_or_else(|| Failure::usage("no case is named: add --case ID"))
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Opens a case about subjects; prints its id.
    Open {
        #[command(flatten)]
        app: AppArgs,
        /// The kind of matter, e.g. social-assistance.
        #[arg(long)]
        matter: Matter,
        /// A subject's identifier; stays with the member, the register gets its tag. May be given several times.
        #[arg(long = "subject")]
        subjects: Vec<String>,
        #[command(flatten)]
        issued: Issued,
    },
    /// Adds subjects, with a reason of the closed list.
    Add {
        #[command(flatten)]
        app: AppArgs,
        #[command(flatten)]
        which: Which,
        /// A subject's identifier.
        #[arg(long = "subject", required = true)]
        subjects: Vec<String>,
        #[command(flatten)]
        issued: Issued,
        /// e.g. household-member, joint-applicant, corrected-identifier, new-party.
        #[arg(long)]
        reason: String,
    },
    /// Closes a case: from then on no exchange runs in it.
    Close {
        #[command(flatten)]
        app: AppArgs,
        #[command(flatten)]
        which: Which,
        /// e.g. decided, withdrawn, merged, ended, opened-by-mistake.
        #[arg(long)]
        reason: String,
    },
    /// Shows what the register knows of a case.
    Show {
        #[command(flatten)]
        app: AppArgs,
        #[command(flatten)]
        which: Which,
    },
}

fn reason(text: &str) -> Result<String, Failure> {
    if REASONS.contains(&text) {
        Ok(text.to_owned())
    } else {
        let next = meant_or_known(text, REASONS.iter().copied());
        Err(Failure::usage(format!("`{text}` is not in the closed list of reasons; {next}")))
    }
}

pub fn run(command: &Command) -> Outcome {
    setup::runtime()?.block_on(async {
        match command {
            Command::Open { app, matter, subjects, issued } => {
                hints::matter(matter)?;
                hints::subjects(subjects, issued.as_issued)?;
                let client = setup::met_client(app).await?;
                let opened = client.open_case(matter, subjects).await;
                let (case, receipt) = opened.map_err(|error| hints::refused(app, error))?;
                setup::settled(&client).await?;
                println!("{case}");
                eprintln!("opened as entry {}", receipt.index);
                if subjects.is_empty() {
                    eprintln!(
                        "it lists nobody yet, so nobody can be asked about in it: `yiwang case add --folder {} --app {} {case} \
                         --subject ID --reason new-party`",
                        app.folder.display(),
                        app.app
                    );
                }
            }
            Command::Add { app, which, subjects, issued, reason: why } => {
                let case = which.case()?;
                let act = Act::Add { reason: reason(why)? };
                hints::subjects(subjects, issued.as_issued)?;
                let client = setup::met_client(app).await?;
                let acted = client.act_on_case(case, act, subjects).await;
                let receipt = acted.map_err(|error| hints::refused(app, error))?;
                setup::settled(&client).await?;
                println!("added as entry {}", receipt.index);
            }
            Command::Close { app, which, reason: why } => {
                let case = which.case()?;
                let act = Act::Close { reason: reason(why)? };
                let client = setup::met_client(app).await?;
                let receipt = client.act_on_case(case, act, &[]).await.map_err(Failure::refused)?;
                setup::settled(&client).await?;
                println!("closed as entry {}", receipt.index);
            }
            Command::Show { app, which } => {
                let case = which.case()?;
                let client = setup::met_client(app).await?;
                let shown = client.show_case(case).await.map_err(Failure::refused)?;
                let state = if shown.state() == pb::CaseState::Open { "open" } else { "closed" };
                println!("case:     {case}");
                println!("matter:   {}", shown.matter);
                println!("state:    {state}");
                println!("subjects: {}", shown.subjects);
                println!("opened:   {}", format_rfc3339(shown.opened_at_ms));
                for receipt in &shown.receipts {
                    println!("entry:    {}", receipt.index);
                }
            }
        }
        Ok(())
    })
}
