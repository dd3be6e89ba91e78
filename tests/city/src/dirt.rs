//! The kinds of dirty data that departments' systems really hold, and who of the city suffers from which.

/// One kind of dirt. Every kind has a specimen in every city, however small, and more by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dirt {
    /// Civil affairs still holds the old id of 15 digits.
    OldId15,
    /// The id was issued with a wrong check character and is used so everywhere.
    WrongCheckDigit,
    /// The check character X is stored in lower case by police and civil affairs.
    LowerCaseX,
    /// Registered twice with police and with health, the older row never cancelled.
    Reregistered,
    /// A character of the name is outside GBK.
    RareCharacter,
    /// Civil affairs spells the name with the traditional character.
    TraditionalName,
    /// The address has no house number.
    NoHouseNumber,
    /// The address carries an area code that was replaced in 2016.
    OldAreaCode,
    /// Civil affairs holds 1900-01-01 for a birth date that nobody knew.
    Birth1900,
    /// Digits of full width in the birth date with civil affairs and in telephone numbers.
    FullWidthDigits,
    /// The household has no head.
    HouseholdWithoutHead,
}

impl Dirt {
    pub const ALL: [Self; 11] = [
        Self::OldId15,
        Self::WrongCheckDigit,
        Self::LowerCaseX,
        Self::Reregistered,
        Self::RareCharacter,
        Self::TraditionalName,
        Self::NoHouseNumber,
        Self::OldAreaCode,
        Self::Birth1900,
        Self::FullWidthDigits,
        Self::HouseholdWithoutHead,
    ];

    /// The dirt of a household: one specimen of each kind first, then one household in ten.
    pub(crate) fn of_household(index: u64, chance: u64) -> Option<Self> {
        if let Some(specimen) = index.checked_sub(1).and_then(|at| Self::ALL.get(usize::try_from(at).ok()?)) {
            return Some(*specimen);
        }
        if !chance.is_multiple_of(10) {
            return None;
        }
        Self::ALL.get(usize::try_from(chance / 10 % Self::ALL.len() as u64).ok()?).copied()
    }
}
