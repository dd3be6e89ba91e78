//! Names from a neutral list of weather, colours, trees and the old calendar signs: visibly invented, nobody's.

use crate::prng::Prng;

const FAMILY: [char; 36] = [
    '云', '雾', '霜', '露', '虹', '霞', '岚', '霁', '雪', '雨', '晴', '霖', '青', '赤', '橙', '绿', '蓝',
    '紫', '墨', '黛', '绯', '绛', '缃', '赭', '松', '枫', '杉', '榆', '槐', '桐', '竹', '荷', '蕉', '藤',
    '苔', '蕨',
];
const STEMS: [char; 10] = ['甲', '乙', '丙', '丁', '戊', '己', '庚', '辛', '壬', '癸'];
const BRANCHES: [char; 12] = ['子', '丑', '寅', '卯', '辰', '巳', '午', '未', '申', '酉', '戌', '亥'];
/// Characters outside GBK, one of them outside the basic plane.
const RARE: [char; 4] = ['㛃', '䶮', '𠮷', '𬀩'];
const STREETS: [&str; 8] = ["松风", "云影", "青石", "荷塘", "竹溪", "霞光", "枫林", "雪浪"];

pub(crate) fn family(prng: &mut Prng) -> char {
    prng.pick(&FAMILY)
}

pub(crate) fn full_name(family: char, prng: &mut Prng) -> String {
    let stem = prng.pick(&STEMS);
    if prng.chance(700) {
        format!("{family}{stem}{}", prng.pick(&BRANCHES))
    } else {
        format!("{family}{stem}")
    }
}

pub(crate) fn rare_name(family: char, prng: &mut Prng) -> String {
    format!("{family}{}", prng.pick(&RARE))
}

/// The family name of everybody who shows the traditional spelling somewhere, and that spelling.
pub(crate) const SIMPLE_AND_TRADITIONAL: (char, char) = ('云', '雲');

pub(crate) fn street(number: u64) -> &'static str {
    let at = usize::try_from(number).unwrap_or(0) % STREETS.len();
    STREETS.get(at).copied().unwrap_or("松风")
}

/// Digits, letters and signs of ASCII in their full-width forms, as an input method leaves them.
pub(crate) fn full_width(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() { char::from_u32(c as u32 + 0xFEE0).unwrap_or(c) } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{FAMILY, RARE, full_width};

    #[test]
    fn common_names_fit_gbk_and_rare_ones_do_not() {
        let spoils = |c: char| encoding_rs::GBK.encode(&c.to_string()).2;
        assert!(FAMILY.iter().all(|c| !spoils(*c)));
        assert!(RARE.iter().any(|c| spoils(*c)));
    }

    #[test]
    fn full_width_digits() {
        assert_eq!(full_width("19-0"), "１９－０");
    }
}
