//! The departments' own servers: MariaDB, PostgreSQL, a double of a FHIR server and a gas company's API, started from
//! what is installed, on free ports, filled with the synthetic city, and gone with the demo.

use super::parts::{self, Part};
use super::process::free_port;
use crate::fail::{Failure, file};
use crate::setup;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_city::servers::{self, Database, Double, Kind, ServerError, Table};
use yiwang_city::{City, More};
use yiwang_proto::ambient::random;

/// Types of the open patients' resources that the double answers for.
const RESOURCES: [&str; 4] = ["Patient", "Condition", "AllergyIntolerance", "MedicationRequest"];

/// Servers that run.
pub struct Services {
    /// Of the police.
    police: Option<Arc<Database>>,
    /// Of civil affairs.
    civil: Option<Arc<Database>>,
    /// Of the health department.
    health: Option<Arc<Double>>,
    /// Of the gas company.
    gas: Option<Arc<Double>>,
}

/// One of them, to be stopped and started again.
#[derive(Clone)]
pub enum Server {
    /// A database.
    Database(Arc<Database>),
    /// A server in Python.
    Double(Arc<Double>),
}

impl Server {
    /// Stops it; blocks until it has ended.
    pub fn stop(&self) {
        match self {
            Self::Database(server) => server.stop(),
            Self::Double(server) => server.stop(),
        }
    }

    /// Starts it again at its port; blocks until it answers.
    pub fn start(&self) -> Result<(), ServerError> {
        match self {
            Self::Database(server) => server.start(),
            Self::Double(server) => server.start(),
        }
    }
}

/// What starting them takes.
struct Makings {
    dir: PathBuf,
    more: More,
    city: City,
    data: Option<PathBuf>,
    ports: [u16; 4],
    secrets: [String; 3],
}

impl Services {
    /// Starts them; a member whose server is not installed keeps its embedded source, or is left out where it has none.
    pub async fn start(
        dir: &Path,
        city: &City,
        data: Option<&Path>,
        parts: &mut Vec<Part>,
    ) -> Result<Self, Failure> {
        println!("[setup] the departments' servers, from what is installed on this machine");
        let more = city.more(&dir.join("departments")).map_err(Failure::environment)?;
        parts.extend(Part::of(parts::FURTHER_MEMBERS, &more.sources));
        move_to(parts, "emergency-call", "emergency-call/sqlite", &setting(&more, "emergency-call"), &[]);
        let secret = || yiwang_proto::hex(&random::<16>(setup::entropy().as_ref()));
        let makings = Makings {
            dir: dir.join("services"),
            more,
            city: city.clone(),
            data: data.map(Path::to_owned),
            ports: [free_port()?.port(), free_port()?.port(), free_port()?.port(), free_port()?.port()],
            secrets: [secret(), secret(), secret()],
        };
        let starting = tokio::task::spawn_blocking(move || makings.start());
        let (services, moves) = starting.await.map_err(Failure::environment)??;
        for one in &moves {
            println!("        {}: {}", one.member, one.told);
            match one.mappings {
                Some(mappings) => move_to(parts, one.member, mappings, &one.settings, &one.places),
                None if one.left_out => parts.retain(|part| part.id != one.member),
                None => {}
            }
        }
        println!("        emergency-call and housing: SQLite, of different columns; urban-management: CSV");
        Ok(services)
    }

    /// Those that run, by member.
    pub fn all(&self) -> Vec<(&'static str, Server)> {
        let databases = [("police", &self.police), ("civil-affairs", &self.civil)];
        let doubles = [("health", &self.health), ("gas", &self.gas)];
        let databases = databases
            .into_iter()
            .filter_map(|(member, server)| Some((member, Server::Database(server.clone()?))));
        let doubles = doubles
            .into_iter()
            .filter_map(|(member, server)| Some((member, Server::Double(server.clone()?))));
        databases.chain(doubles).collect()
    }

    /// Stops all of them, and waits for their end.
    pub async fn stop(&self) {
        let all = self.all();
        let stopping = tokio::task::spawn_blocking(move || all.iter().for_each(|(_, server)| server.stop()));
        // A panic in there would end nothing that its guards do not end.
        let _ = stopping.await;
    }
}

/// A member and the source that it goes to.
struct Move {
    member: &'static str,
    told: String,
    /// None where it stays as it is.
    mappings: Option<&'static str>,
    left_out: bool,
    settings: Vec<(String, String)>,
    places: Vec<(&'static str, String)>,
}

fn setting(more: &More, member: &str) -> Vec<(String, String)> {
    let own = more.sources.iter().filter(|source| source.member == member);
    own.map(|source| (source.variable.to_owned(), source.path.display().to_string())).collect()
}

fn move_to(
    parts: &mut [Part],
    member: &str,
    mappings: &'static str,
    settings: &[(String, String)],
    places: &[(&'static str, String)],
) {
    if let Some(part) = parts.iter_mut().find(|part| part.id == member) {
        part.mappings = mappings;
        part.settings = settings.to_vec();
        part.places = places.to_vec();
    }
}

/// The server; none, with a word of what becomes of the member, where it is not installed.
fn or_missing<T>(
    started: Result<T, ServerError>,
    member: &'static str,
    embedded: Option<&str>,
    moves: &mut Vec<Move>,
) -> Result<Option<Arc<T>>, Failure> {
    let missing = match started {
        Ok(server) => return Ok(Some(Arc::new(server))),
        Err(missing) if missing.is_missing() => missing,
        Err(failed) => return Err(Failure::environment(failed)),
    };
    let instead = match embedded {
        Some(source) => format!("it answers from its embedded source ({source})"),
        None => "it has no embedded source and is left out".to_owned(),
    };
    moves.push(Move {
        member,
        told: format!("MISSING: {missing}; {instead}"),
        mappings: None,
        left_out: embedded.is_none(),
        settings: Vec::new(),
        places: Vec::new(),
    });
    Ok(None)
}

impl Makings {
    fn start(self) -> Result<(Services, Vec<Move>), Failure> {
        std::fs::create_dir_all(&self.dir).map_err(file(&self.dir))?;
        let mut moves = Vec::new();
        let [police_port, civil_port, health_port, gas_port] = self.ports;
        let [police_secret, civil_secret, gas_secret] = &self.secrets;
        let police = self.database(
            (Kind::Mariadb, police_port, "police"),
            ("police", "POLICE_DB", police_secret),
            (servers::POLICE, "police/mariadb"),
            &mut moves,
        )?;
        let civil = self.database(
            (Kind::Postgres, civil_port, "civil-affairs"),
            ("civil", "CIVIL_DB", civil_secret),
            (servers::CIVIL_AFFAIRS, "civil-affairs/postgres"),
            &mut moves,
        )?;
        let health = self.health(health_port, &mut moves)?;
        let gas = self.gas(gas_port, gas_secret, &mut moves)?;
        Ok((Services { police, civil, health, gas }, moves))
    }

    /// A database with a department's tables, and a role that can read just these.
    fn database(
        &self,
        (kind, port, member): (Kind, u16, &'static str),
        (name, variable, password): (&str, &str, &str),
        (tables, mappings): (&[Table], &'static str),
        moves: &mut Vec<Move>,
    ) -> Result<Option<Arc<Database>>, Failure> {
        let started = Database::start_new(kind, port, false);
        let Some(server) = or_missing(started, member, Some("SQLite"), moves)? else { return Ok(None) };
        let embedded = self.city.sources().iter().find(|source| source.member == member);
        let embedded = embedded.ok_or_else(|| Failure::environment("the city has no such department"))?;
        let role = format!("yiwang_{name}");
        let url =
            server.fill(name, tables, &embedded.path, (&role, password)).map_err(Failure::environment)?;
        let told = format!("{} at 127.0.0.1:{port}, {} tables", kind.name(), tables.len());
        let settings =
            vec![(format!("{variable}_URL"), url), (format!("{variable}_CA"), server.ca().to_owned())];
        let mappings = Some(mappings);
        moves.push(Move { member, told, mappings, left_out: false, settings, places: Vec::new() });
        Ok(Some(server))
    }

    fn health(&self, port: u16, moves: &mut Vec<Move>) -> Result<Option<Arc<Double>>, Failure> {
        let mut open = 0;
        if let Some(patients) = self.data.as_ref().map(|data| data.join("synthea-fhir")) {
            for name in RESOURCES {
                let from = patients.join(format!("{name}.ndjson"));
                if from.is_file() {
                    let to = self.more.fhir.join(format!("open-{name}.ndjson"));
                    let lines = std::fs::read_to_string(&from).map_err(file(&from))?;
                    open += if name == "Patient" { lines.lines().count() } else { 0 };
                    std::fs::write(&to, lines).map_err(file(&to))?;
                }
            }
        }
        let started = servers::fhir_double(&self.more.fhir, &self.dir, port);
        let Some(server) = or_missing(started, "health", Some("SQLite"), moves)? else { return Ok(None) };
        let [patients, ..] = self.more.counts;
        let told = format!(
            "a double of a FHIR R4 server (fhirstarter) at 127.0.0.1:{port}, {patients} patients of the city and {open} \
             of open data"
        );
        let settings = vec![("FHIR_BASE_URL".to_owned(), server.url("/fhir"))];
        moves.push(Move {
            member: "health",
            told,
            mappings: Some("health/fhir"),
            left_out: false,
            settings,
            places: Vec::new(),
        });
        Ok(Some(server))
    }

    fn gas(&self, port: u16, secret: &str, moves: &mut Vec<Move>) -> Result<Option<Arc<Double>>, Failure> {
        let secret_file = self.dir.join("gas-secret");
        std::fs::write(&secret_file, secret).map_err(file(&secret_file))?;
        let started = servers::gas_api(&self.more.meters, &secret_file, &self.dir, port);
        let Some(server) = or_missing(started, "gas", None, moves)? else { return Ok(None) };
        let [_, meters, ..] = self.more.counts;
        let settings =
            vec![("GAS_API".to_owned(), server.url("")), ("GAS_TOKENS".to_owned(), server.url("/token"))];
        moves.push(Move {
            member: "gas",
            told: format!("a REST API at 127.0.0.1:{port}, {meters} meters"),
            mappings: Some("gas"),
            left_out: false,
            settings,
            places: vec![("/run/secrets/gas-api", secret_file.display().to_string())],
        });
        Ok(Some(server))
    }
}
