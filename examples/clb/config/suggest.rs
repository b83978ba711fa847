//! The known word that was probably meant.

/// The word of `known` nearest to `word`, if it is near enough to be a slip.
///
/// Near enough is one slip for every three letters, at least one and at most four; or else four
/// letters or more with which the known word begins. Costs the product of the lengths for each
/// known word.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let most = (word.chars().count() / 3).clamp(1, 4);
    let known: Vec<&str> = known.into_iter().collect();
    let slipped = known
        .iter()
        .map(|candidate| (slips(word, candidate), *candidate))
        .filter(|(slips, _)| *slips <= most)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate);
    slipped.or_else(|| {
        let begin = letters(word);
        known
            .into_iter()
            .find(|candidate| begin.len() >= BEGIN_LEAST && letters(candidate).starts_with(&begin))
    })
}

/// `; did you mean "…"?` behind a message, or nothing.
pub(super) fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"))
}

/// How many letters must be put in, left out, replaced or swapped with the next one.
///
/// The optimal string alignment distance (a restricted Damerau-Levenshtein distance), without
/// regard to case and to `_` for `-`.
fn slips(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().map(plain).collect();
    let right: Vec<char> = right.chars().map(plain).collect();
    let mut above_that = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1; right.len() + 1];
        for (j, r) in right.iter().enumerate() {
            let replaced = above[j] + usize::from(l != r);
            row[j + 1] = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && left[i - 1] == *r && right[j - 1] == *l;
            if swapped {
                row[j + 1] = row[j + 1].min(above_that[j - 1] + 1);
            }
        }
        above_that = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

/// The word without what parts it.
fn letters(word: &str) -> String {
    word.chars()
        .map(plain)
        .filter(|letter| *letter != '-')
        .collect()
}

fn plain(letter: char) -> char {
    match letter {
        '_' => '-',
        letter => letter.to_ascii_lowercase(),
    }
}

/// Fewer letters begin too many words.
const BEGIN_LEAST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_count_letters_put_in_left_out_replaced_and_swapped() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("ABC_d", "abc-D", 0),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("ab", "abc", 1),
            ("abcd", "abdc", 1),
            ("abcd", "badc", 2),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(slips(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn only_a_word_that_is_near_is_meant() {
        let known = ["rise", "fall", "interval"];
        assert_eq!(nearest("rize", known), Some("rise"));
        assert_eq!(nearest("fal", known), Some("fall"));
        assert_eq!(nearest("fa", known), None);
        assert_eq!(nearest("intrevl", known), Some("interval"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(did_you_mean("fal", known), "; did you mean \"fall\"?");
        assert_eq!(did_you_mean("xyz", known), "");
    }

    #[test]
    fn the_nearest_of_several_is_meant_and_the_first_of_equals() {
        assert_eq!(nearest("abcdef", ["abcxyf", "abcdxf"]), Some("abcdxf"));
        assert_eq!(nearest("abcdef", ["abcdxf", "abcdef"]), Some("abcdef"));
        assert_eq!(nearest("aaa", ["aab", "aba"]), Some("aab"));
    }

    #[test]
    fn four_letters_that_begin_a_word_mean_it_whatever_parts_it() {
        let known = ["round-robin", "least-connections", "random"];
        assert_eq!(nearest("leastconn", known), Some("least-connections"));
        assert_eq!(nearest("LEAST_C", known), Some("least-connections"));
        assert_eq!(nearest("roun", known), Some("round-robin"));
        assert_eq!(nearest("rou", known), None);
        assert_eq!(nearest("connections", known), None);
        assert_eq!(nearest("rando", known), Some("random"));
    }

    #[test]
    fn at_most_four_slips_are_forgiven() {
        assert_eq!(
            nearest("abcdefghijklmnop", ["abcdefghijkl"]),
            Some("abcdefghijkl")
        );
        assert_eq!(nearest("abcdefghijklmnop", ["abcdefghijk"]), None);
    }
}
