//! A synthetic city: the same persons for the same seed, kept by four departments in systems of their own, with the
//! dirty data of real ones. Nobody in it exists: the ids carry area codes that were never given out, the names are
//! words for weather, colours and trees.

mod bench;
mod calls;
mod city;
mod civil;
mod day;
mod dirt;
mod error;
mod fixed;
mod health;
mod id;
mod model;
mod police;
mod prng;
mod real;
mod sqlite;
mod words;

pub use bench::{Bench, bench_mapping, build_bench};
pub use city::{City, CityPlan, Facts, Household, Member, Source, build, demo_household};
pub use day::{Day, TODAY};
pub use dirt::Dirt;
pub use error::CityError;
pub use id::is_valid;
pub use model::{CityHousehold, CityPerson, Relation, Sex};
pub use real::{Conflict, RealData, TownshipDay, attach_real};
