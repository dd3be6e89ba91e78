//! A synthetic city: the same persons for the same seed, kept by seven departments in systems of their own, with the
//! dirty data of real ones. Nobody in it exists: the ids carry area codes that were never given out, the names are
//! words for weather, colours and trees.

mod bench;
mod calls;
mod calls_db;
mod city;
mod civil;
mod day;
mod dirt;
mod error;
mod fhir;
mod fixed;
mod gas;
mod health;
mod housing;
mod id;
mod model;
mod more;
mod police;
mod prng;
mod real;
pub mod servers;
mod sqlite;
mod urban;
mod words;

pub use bench::{Bench, bench_batch, bench_mapping, bench_mapping_of, bench_operation, build_bench};
pub use city::{City, CityPlan, Facts, Household, Member, Source, build, demo_household};
pub use day::{Day, TODAY};
pub use dirt::Dirt;
pub use error::CityError;
pub use id::is_valid;
pub use model::{CityHousehold, CityPerson, Relation, Sex};
pub use more::More;
pub use real::{Conflict, RealData, TownshipDay, attach_real};
