//! Counts against an attacker who collects answers: whatever allowed questions are asked, nobody can work out a cell
//! under `k`, nor that it is under `k`; and every cell that is shown is the plain count of its rows.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use yiwang_adapter_sdk::count::suppress::Table;

/// Numbers modulo this prime stand for fractions: a set of unit weights that a system of zeros and ones yields over
/// the fractions it yields here too.
const PRIME: u128 = (1 << 61) - 1;

/// Cells of a table here: the attacker solves a system over them, a thousand times.
const CELLS: usize = 36;

#[derive(Debug, Clone)]
struct Scene {
    sizes: Vec<usize>,
    counts: Vec<u64>,
    k: u64,
    questions: Vec<BTreeSet<usize>>,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let sizes = prop::collection::vec(1_usize..=4, 1..=4)
        .prop_filter("too many cells", |sizes| sizes.iter().product::<usize>() <= CELLS);
    (sizes, 10_u64..=20).prop_flat_map(|(sizes, k)| {
        let cells = sizes.iter().product::<usize>();
        let count = prop_oneof![3 => 0..k, 1 => Just(0), 1 => Just(k - 1), 1 => Just(k), 4 => k..10 * k];
        let question = prop::collection::btree_set(0..sizes.len(), 0..=sizes.len());
        (Just(sizes), prop::collection::vec(count, cells), Just(k), prop::collection::vec(question, 1..=16))
            .prop_map(|(sizes, counts, k, questions)| Scene { sizes, counts, k, questions })
    })
}

/// The values of a cell, read off its place by an own way: the last dimension runs fastest.
fn coordinates(sizes: &[usize], cell: usize) -> Vec<usize> {
    let mut step: usize = sizes.iter().product();
    let mut rest = cell;
    sizes
        .iter()
        .map(|size| {
            step /= size;
            let value = rest / step;
            rest %= step;
            value
        })
        .collect()
}

/// Something that was shown: the cells whose bits are set have so many rows together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Equation {
    cells: u64,
    total: u64,
}

impl Equation {
    fn has(&self, cell: usize) -> bool {
        self.cells >> cell & 1 == 1
    }
}

/// Asks everything, and holds each shown cell against a naive count.
fn ask(scene: &Scene) -> Result<Vec<Equation>, TestCaseError> {
    let mut table = Table::new(&scene.sizes, CELLS).unwrap_or_else(|| panic!("no table"));
    for (cell, count) in scene.counts.iter().enumerate() {
        prop_assert!(table.add(&coordinates(&scene.sizes, cell), *count));
    }
    let suppressed = table.suppress(scene.k);
    let mut shown = Vec::new();
    for question in &scene.questions {
        let by: Vec<usize> = question.iter().copied().collect();
        let mut naive: BTreeMap<Vec<usize>, BTreeSet<usize>> = BTreeMap::new();
        for cell in 0..scene.counts.len() {
            let all = coordinates(&scene.sizes, cell);
            naive.entry(by.iter().map(|at| all[*at]).collect()).or_default().insert(cell);
        }
        let answer = suppressed.by(&by);
        let mut seen = BTreeSet::new();
        for (values, total) in answer {
            let whole = naive.get(&values).cloned().unwrap_or_default();
            let rows: u64 = whole.iter().map(|cell| scene.counts[*cell]).sum();
            let cells = whole.iter().fold(0, |cells, cell| cells | 1 << cell);
            prop_assert_eq!(total, rows, "{:?} by {:?}", values, by);
            prop_assert!(total >= scene.k, "a small cell is shown: {:?} by {:?}", values, by);
            prop_assert!(seen.insert(values), "a cell stands twice");
            shown.push(Equation { cells, total });
        }
    }
    Ok(shown)
}

/// Solves the system of all that was shown: the cells whose number follows from it.
fn solved(equations: &[Equation], cells: usize) -> BTreeSet<usize> {
    let unique: BTreeSet<&Equation> = equations.iter().collect();
    let mut rows: Vec<Vec<u128>> = unique
        .into_iter()
        .map(|equation| (0..cells).map(|cell| u128::from(equation.has(cell))).collect())
        .collect();
    let mut rank = 0;
    for column in 0..cells {
        let Some(pivot) = (rank..rows.len()).find(|row| rows[*row][column] != 0) else { continue };
        rows.swap(rank, pivot);
        let inverse = power(rows[rank][column], PRIME - 2);
        for value in &mut rows[rank] {
            *value = *value * inverse % PRIME;
        }
        let pivot = rows[rank].clone();
        for (at, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if at != rank && factor != 0 {
                for (value, above) in row.iter_mut().zip(&pivot) {
                    *value = (*value + PRIME - factor * above % PRIME) % PRIME;
                }
            }
        }
        rank += 1;
    }
    // In the reduced form a cell is known exactly where a row holds nothing else.
    let alone = |row: &Vec<u128>| {
        let held: Vec<usize> = (0..cells).filter(|at| row[*at] != 0).collect();
        if held.len() == 1 { held.first().copied() } else { None }
    };
    rows.iter().filter_map(alone).collect()
}

fn power(mut base: u128, mut exponent: u128) -> u128 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % PRIME;
        }
        base = base * base % PRIME;
        exponent >>= 1;
    }
    result
}

/// What is left between, with all differences of what was shown and of their differences: no count is below nothing.
fn bounds(equations: &[Equation], cells: usize) -> Vec<(u64, u64)> {
    let mut known: BTreeSet<Equation> = equations.iter().copied().collect();
    for _ in 0..2 {
        let all: Vec<Equation> = known.iter().take(400).copied().collect();
        for whole in &all {
            for part in all.iter().filter(|part| *part != whole && part.cells & whole.cells == part.cells) {
                let rest = Equation {
                    cells: whole.cells & !part.cells,
                    total: whole.total.saturating_sub(part.total),
                };
                known.insert(rest);
            }
        }
    }
    let mut bounds = vec![(0_u64, u64::MAX); cells];
    for _ in 0..cells {
        let before = bounds.clone();
        for equation in &known {
            let held: Vec<usize> = (0..cells).filter(|cell| equation.has(*cell)).collect();
            let sum = |of: fn(&(u64, u64)) -> u64, bounds: &[(u64, u64)], but: usize| {
                let others = held.iter().filter(|other| **other != but);
                others.fold(0_u64, |sum, other| sum.saturating_add(of(&bounds[*other])))
            };
            for cell in &held {
                let (least, most) = (sum(|b| b.0, &bounds, *cell), sum(|b| b.1, &bounds, *cell));
                let bound = &mut bounds[*cell];
                bound.1 = bound.1.min(equation.total.saturating_sub(least));
                bound.0 = bound.0.max(equation.total.saturating_sub(most));
            }
        }
        if bounds == before {
            break;
        }
    }
    bounds
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn t16_no_set_of_questions_gives_a_small_cell_away(scene in scenes()) {
        let shown = ask(&scene)?;
        let cells = scene.counts.len();
        let solved = solved(&shown, cells);
        let bounds = bounds(&shown, cells);
        for (cell, count) in scene.counts.iter().enumerate().filter(|(_, count)| **count < scene.k) {
            prop_assert!(!solved.contains(&cell), "cell {} of {} follows from the answers", cell, count);
            let (least, most) = bounds[cell];
            prop_assert!(least < most && most >= scene.k, "cell {} of {} lies in {}..={}", cell, count, least, most);
            prop_assert!(least <= *count && *count <= most, "the attacker errs");
        }
    }
}

/// The attacker is no straw man: without complementary suppression, and with totals that were not made from the
/// suppressed table, it finds the small cell by either way.
#[test]
fn the_attacker_finds_what_primary_suppression_alone_leaves_open() {
    let of = |cells: &[usize], total| Equation {
        cells: cells.iter().fold(0, |cells, cell| cells | 1 << cell),
        total,
    };
    // 40, 12 and 15 are shown, 3 is not; the total is.
    let naive = [of(&[0], 40), of(&[1], 12), of(&[2], 15), of(&[0, 1, 2, 3], 70)];
    assert!(solved(&naive, 4).contains(&3));
    assert_eq!(bounds(&naive, 4)[3], (3, 3));
    // A two-way table in which rows and columns overlap.
    let crossed = [of(&[0, 1], 20), of(&[2, 3], 30), of(&[0, 2], 12), of(&[1, 3], 38), of(&[3], 25)];
    assert!(solved(&crossed, 4).is_superset(&BTreeSet::from([0, 1, 2])));
}
