//! What may be shown of a table of counts. Cells under `k` are joined with others into blocks, of which only the
//! total is ever used; every answer, coarse or fine, is a sum of whole blocks and of cells that are shown.
//!
//! INVARIANT: all that leaves, over all questions together, follows from disjoint sums: one for each shown cell,
//! which is `k` at the least, and one for each block, which has two cells at the least and a total of `k` at the
//! least. So whoever holds answers against each other learns of a cell in a block that it lies between nothing and
//! the block's total: neither what it is, nor that it is under `k`. Cells that are in no block are in no answer.

/// A table of counts over the product of its dimensions' values, the last dimension's next to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    sizes: Vec<usize>,
    counts: Vec<u64>,
}

/// Cells whose sum may be used. One cell is a shown cell; more are a block.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// Places of the cells, ascending.
    pub cells: Vec<u32>,
    /// How many rows they have together.
    pub total: u64,
}

/// What may be shown of a table. Holds no count of a cell in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppressed {
    sizes: Vec<usize>,
    sums: Vec<Sum>,
}

/// A cell of an answer: the places of its values in the dimensions asked for, and how many rows it has.
pub type Cell = (Vec<usize>, u64);

impl Table {
    /// An empty table; none if it has over `most` cells, or a dimension without values.
    pub fn new(sizes: &[usize], most: usize) -> Option<Self> {
        let cells = sizes.iter().try_fold(1_usize, |cells, size| cells.checked_mul(*size))?;
        let fits = (1..=most).contains(&cells) && u32::try_from(cells).is_ok();
        fits.then(|| Self { sizes: sizes.to_vec(), counts: vec![0; cells] })
    }

    /// Adds rows to the cell of these values; false if there is no such cell.
    pub fn add(&mut self, values: &[usize], rows: u64) -> bool {
        let place = place(&self.sizes, values);
        let cell = place.and_then(|place| self.counts.get_mut(place));
        cell.map(|count| *count = count.saturating_add(rows)).is_some()
    }

    /// Suppresses what is under `k`. The dimensions count in their order: totals of the first ones survive where
    /// those of the last do not.
    pub fn suppress(&self, k: u64) -> Suppressed {
        let mut closed = Vec::new();
        self.close(0, 0, k.max(1), &mut closed);
        closed.sort_by(|a, b| a.cells.cmp(&b.cells));
        Suppressed { sizes: self.sizes.clone(), sums: closed }
    }

    /// Closes the cells below one value of the first `depth` dimensions, which begin at a place: appends their
    /// sums, and yields the cells that are still open, with their rows. The sums of one part lie together at the end
    /// of the list, which is how the parent finds its own.
    fn close(&self, depth: usize, begin: usize, k: u64, closed: &mut Vec<Sum>) -> (Vec<u32>, u64) {
        let Some(size) = self.sizes.get(depth) else {
            let count = self.counts.get(begin).copied().unwrap_or_default();
            let cell = u32::try_from(begin).unwrap_or(u32::MAX);
            if count >= k {
                closed.push(Sum { cells: vec![cell], total: count });
                return (Vec::new(), 0);
            }
            return (vec![cell], count);
        };
        let own = closed.len();
        let step: usize = self.sizes.iter().skip(depth + 1).product();
        let (mut open, mut rows) = (Vec::new(), 0_u64);
        for value in 0..*size {
            let (cells, more) = self.close(depth + 1, begin + value * step, k, closed);
            open.extend(cells);
            rows = rows.saturating_add(more);
        }
        if open.is_empty() {
            return (open, 0);
        }
        if rows < k || open.len() < 2 {
            // The complement: a block rather than a cell that is shown, and the smallest, so that little is lost.
            // Where it would be all that this part shows, the part's total is given up instead.
            if closed.len() - own < 2 {
                return (open, rows);
            }
            let sums = closed.iter().enumerate().skip(own);
            let smallest = sums.min_by_key(|(at, sum)| (sum.cells.len() == 1, sum.total, *at));
            let Some((at, _)) = smallest else { return (open, rows) };
            let sum = closed.swap_remove(at);
            open.extend(sum.cells);
            rows = rows.saturating_add(sum.total);
        }
        open.sort_unstable();
        closed.push(Sum { cells: open, total: rows });
        (Vec::new(), 0)
    }
}

impl Suppressed {
    /// From sums that were kept; none if they are not disjoint sums over a table of these sizes.
    pub fn of(sizes: &[usize], sums: Vec<Sum>) -> Option<Self> {
        let cells = sizes.iter().try_fold(1_usize, |cells, size| cells.checked_mul(*size))?;
        let mut seen = std::collections::BTreeSet::new();
        let sound = sums.iter().all(|sum| {
            let mut places = sum.cells.iter();
            !sum.cells.is_empty() && places.all(|place| (*place as usize) < cells && seen.insert(*place))
        });
        sound.then(|| Self { sizes: sizes.to_vec(), sums })
    }

    /// The sums.
    pub fn sums(&self) -> &[Sum] {
        &self.sums
    }

    /// The answer by some dimensions, given by their places in the table: cells in the order of their values, and
    /// no cell that holds a part of a block, or a cell of no sum.
    pub fn by(&self, dimensions: &[usize]) -> Vec<Cell> {
        let sizes: Vec<usize> =
            dimensions.iter().filter_map(|dimension| self.sizes.get(*dimension).copied()).collect();
        let all: usize = self.sizes.iter().product();
        let groups: usize = sizes.iter().product();
        if sizes.len() != dimensions.len() || groups == 0 {
            return Vec::new();
        }
        // How many finest cells a cell of the answer has; all must be in sums that lie in it whole.
        let each = all / groups;
        let mut found = vec![(0_usize, 0_u64); groups];
        for sum in &self.sums {
            let mut places = sum.cells.iter().map(|cell| self.group(*cell as usize, dimensions, &sizes));
            let first = places.next().flatten();
            if let Some(first) = first
                && places.all(|place| place == Some(first))
                && let Some((cells, total)) = found.get_mut(first)
            {
                *cells += sum.cells.len();
                *total = total.saturating_add(sum.total);
            }
        }
        let whole = found.into_iter().enumerate().filter(|(_, (cells, _))| *cells == each);
        whole.map(|(place, (_, total))| (values(&sizes, place), total)).collect()
    }

    /// The place among the answer's cells of a finest cell.
    fn group(&self, cell: usize, dimensions: &[usize], sizes: &[usize]) -> Option<usize> {
        let all = values(&self.sizes, cell);
        let asked: Option<Vec<usize>> =
            dimensions.iter().map(|dimension| all.get(*dimension).copied()).collect();
        place(sizes, &asked?)
    }
}

fn place(sizes: &[usize], values: &[usize]) -> Option<usize> {
    if sizes.len() != values.len() {
        return None;
    }
    sizes.iter().zip(values).try_fold(0_usize, |place, (size, value)| {
        (value < size).then_some(place.checked_mul(*size)?.checked_add(*value)?)
    })
}

fn values(sizes: &[usize], mut place: usize) -> Vec<usize> {
    let mut values = vec![0; sizes.len()];
    for (value, size) in values.iter_mut().zip(sizes).rev() {
        *value = place.checked_rem(*size).unwrap_or_default();
        place = place.checked_div(*size).unwrap_or_default();
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sizes: &[usize], counts: &[u64]) -> Table {
        let mut table = Table::new(sizes, 1000).unwrap();
        for (at, count) in counts.iter().enumerate() {
            assert!(table.add(&values(sizes, at), *count));
        }
        table
    }

    #[test]
    fn small_cells_share_a_block_and_their_total_survives() {
        // Two districts by three kinds: 3 and 9 are joined, 12 is shown.
        let shown = table(&[2, 3], &[3, 12, 9, 20, 30, 40]).suppress(10);
        assert_eq!(
            shown.by(&[0, 1]),
            [(vec![0, 1], 12), (vec![1, 0], 20), (vec![1, 1], 30), (vec![1, 2], 40)]
        );
        assert_eq!(shown.by(&[0]), [(vec![0], 24), (vec![1], 90)]);
        assert_eq!(shown.by(&[1]), [(vec![1], 42)], "the kinds of the block would give its cells away");
        assert_eq!(shown.by(&[]), [(vec![], 114)]);
    }

    #[test]
    fn one_small_cell_takes_the_smallest_other_with_it() {
        let shown = table(&[3], &[4, 50, 11]).suppress(10);
        assert_eq!(shown.by(&[0]), [(vec![1], 50)]);
        assert_eq!(shown.by(&[]), [(vec![], 65)]);
    }

    #[test]
    fn a_table_under_k_shows_nothing_at_all() {
        let shown = table(&[2, 2], &[1, 2, 3, 3]).suppress(10);
        for by in [&[][..], &[0], &[1], &[0, 1], &[1, 0]] {
            assert_eq!(shown.by(by), [], "{by:?}");
        }
        assert_eq!(table(&[1], &[0]).suppress(10).by(&[]), []);
    }

    #[test]
    fn without_small_cells_everything_is_shown() {
        let shown = table(&[2, 2], &[10, 11, 12, 13]).suppress(10);
        assert_eq!(
            shown.by(&[1, 0]),
            [(vec![0, 0], 10), (vec![0, 1], 12), (vec![1, 0], 11), (vec![1, 1], 13)]
        );
        assert_eq!(shown.by(&[1]), [(vec![0], 22), (vec![1], 24)]);
    }

    #[test]
    fn sizes_and_places_are_bounded_and_kept_sums_are_checked() {
        assert_eq!(Table::new(&[2, 0], 10), None);
        assert_eq!(Table::new(&[usize::MAX, 2], 10), None);
        assert_eq!(Table::new(&[11], 10), None);
        let mut table = table(&[2, 2], &[10, 10, 10, 10]);
        assert!(!table.add(&[2, 0], 1) && !table.add(&[0], 1));
        let sum = |cells: &[u32]| Sum { cells: cells.to_vec(), total: 10 };
        assert!(Suppressed::of(&[2, 2], vec![sum(&[0, 3]), sum(&[1])]).is_some());
        for bad in [vec![sum(&[4])], vec![sum(&[])], vec![sum(&[0]), sum(&[0, 1])], vec![sum(&[1, 1])]] {
            assert_eq!(Suppressed::of(&[2, 2], bad), None);
        }
        assert_eq!(table.suppress(10).by(&[7]), []);
    }
}
