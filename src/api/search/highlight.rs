//! Which words of a text a search was about, marked for a page to show.
//!
//! Reads words as `search_words` of the database does, and lets the same ones pass. What it returns is HTML of which
//! all but the marks is escaped.

use std::ops::Range;
use unicode_normalization::UnicodeNormalization as _;

/// The words of a query, as `search_products` looks for them.
pub struct Sought(Vec<Vec<char>>);

/// Of a query, how many words count, and of a word, how many letters.
const WORDS: usize = 10;
const LETTERS: usize = 32;

/// About how many letters of a long text are shown, and how many of them before the first mark.
const EXCERPT: usize = 160;
const BEFORE: usize = 40;

struct Word {
    /// In bytes of the text that it was read from.
    place: Range<usize>,
    letters: Vec<char>,
}

impl Sought {
    pub fn of(query: &str) -> Self {
        Self(words(query).into_iter().take(WORDS).map(|word| word.letters).collect())
    }

    /// The whole of a name, with the words marked that are asked for, begin with what is, or are what was misspelt.
    pub fn mark(&self, text: &str) -> String {
        let places = self.places(text, |asked, word| word.starts_with(asked) || is_slip(asked, word));
        marked(text, 0..text.len(), &places)
    }

    /// The same of a sku, which is asked for without what stands between its parts as well.
    pub fn mark_sku(&self, sku: &str) -> String {
        let joined: Vec<char> = words(sku).into_iter().flat_map(|word| word.letters).collect();
        match self.mark(sku) {
            plain if !plain.contains("<mark>") && self.0.iter().any(|asked| joined.starts_with(asked)) => {
                format!("<mark>{plain}</mark>")
            }
            marked => marked,
        }
    }

    /// The surroundings of the first word of a long text that is asked for; none where no word of it is.
    pub fn excerpt(&self, text: &str) -> Option<String> {
        let places = self.places(text, |asked, word| asked == word);
        let first = places.first()?;
        let letter =
            |at: usize, letters: usize| text[at..].char_indices().nth(letters).map(|(by, _)| at + by);
        let back = text[..first.start].char_indices().rev().nth(BEFORE).map_or(0, |(at, _)| at);
        // Not in the middle of a word, where there is a beginning of one in sight.
        let mut gaps = text[back..first.start].char_indices().filter(|(_, letter)| letter.is_whitespace());
        let start = match gaps.next() {
            Some((gap, space)) if back > 0 => back + gap + space.len_utf8(),
            _ => back,
        };
        let end = letter(start, EXCERPT).map_or(text.len(), |end| {
            let gap = text[start..end].rfind(char::is_whitespace).map(|gap| start + gap);
            gap.filter(|gap| *gap >= first.end).unwrap_or(end)
        });
        let (before, after) = (if start > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
        Some(format!("{before}{}{after}", marked(text, start..end, &places)))
    }

    fn places(&self, text: &str, fits: impl Fn(&[char], &[char]) -> bool) -> Vec<Range<usize>> {
        let words = words(text).into_iter();
        let meant = words.filter(|word| self.0.iter().any(|asked| fits(asked, &word.letters)));
        meant.map(|word| word.place).collect()
    }
}

/// A part of the text with what is in these places marked.
fn marked(text: &str, part: Range<usize>, places: &[Range<usize>]) -> String {
    let mut html = String::new();
    let mut done = part.start;
    for place in places.iter().filter(|place| place.end <= part.end) {
        // Two words can be written by one sign, like ½.
        if place.start >= done {
            escape(&text[done..place.start], &mut html);
            html.push_str("<mark>");
            escape(&text[place.clone()], &mut html);
            html.push_str("</mark>");
            done = place.end;
        }
    }
    escape(&text[done..part.end], &mut html);
    html
}

fn escape(text: &str, html: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

/// As `search_words` has them.
fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut inside = false;
    for (at, sign) in text.char_indices() {
        let place = at..at + sign.len_utf8();
        for letter in std::iter::once(sign).nfkd() {
            if is_between(letter) {
                inside = false;
                continue;
            }
            match words.last_mut().filter(|_| inside) {
                Some(word) => word.place.end = place.end,
                None => words.push(Word { place: place.clone(), letters: Vec::new() }),
            }
            inside = true;
            if let Some(word) = words.last_mut() {
                word.letters.extend(folded(letter));
                word.letters.truncate(LETTERS);
            }
        }
    }
    words.retain(|word| !word.letters.is_empty());
    words
}

/// As `search_fold` does it.
fn folded(letter: char) -> impl Iterator<Item = char> {
    let accent = matches!(letter, '\u{300}'..='\u{36f}');
    letter.to_lowercase().filter(move |_| !accent).flat_map(|letter| {
        let letters = match letter {
            'ß' => ['s', 's'],
            'æ' => ['a', 'e'],
            'œ' => ['o', 'e'],
            'ø' => ['o', '\0'],
            'ł' => ['l', '\0'],
            'đ' => ['d', '\0'],
            'ħ' => ['h', '\0'],
            'ı' => ['i', '\0'],
            other => [other, '\0'],
        };
        letters.into_iter().filter(|letter| *letter != '\0')
    })
}

fn is_between(letter: char) -> bool {
    matches!(letter,
        '\u{1}'..='/' | ':'..='@' | '['..='`' | '{'..='\u{bf}' | '×' | '÷' | '\u{2000}'..='\u{2bff}'
        | '\u{3000}'..='\u{3004}' | '\u{3008}'..='\u{303f}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether `asked` is `word` misspelt as `search_slips` forgives it.
fn is_slip(asked: &[char], word: &[char]) -> bool {
    let letters = asked.len();
    if !(4..=20).contains(&letters) || asked.iter().chain(word).any(char::is_ascii_digit) {
        return false;
    }
    let alike = asked.iter().zip(word).take_while(|(asked, letter)| asked == letter).count();
    let (asked, word) = (&asked[alike..], &word[alike..]);
    match (asked, word) {
        ([_, asked @ ..], [_, word @ ..]) if asked == word => true,
        ([a, b, asked @ ..], [c, d, word @ ..]) if (a, b) == (d, c) && asked == word => true,
        ([_, asked @ ..], word) if asked == word => true,
        (asked, [_, word @ ..]) => asked == word,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_marked_that_is_asked_for_begins_so_or_was_misspelt() {
        let mark = |query: &str, text: &str| Sought::of(query).mark(text);
        for (query, text, html) in [
            ("blue", "Blue widget", "<mark>Blue</mark> widget"),
            ("wid bl", "Blue widget", "<mark>Blue</mark> <mark>widget</mark>"),
            ("bleu", "Blue widget", "<mark>Blue</mark> widget"),
            ("widgett", "A widget", "A <mark>widget</mark>"),
            ("widgt", "A widget", "A <mark>widget</mark>"),
            ("wodget", "A widget", "A <mark>widget</mark>"),
            ("wiedgt", "A widget", "A widget"),
            ("cafe", "Café crème", "<mark>Café</mark> crème"),
            ("CRÈME", "Cafe\u{301} creme", "Cafe\u{301} <mark>creme</mark>"),
            ("grosse", "Größe", "<mark>Größe</mark>"),
            ("½", "½ inch", "<mark>½</mark> inch"),
            ("2024", "2025", "2025"),
            ("!!!", "Blue", "Blue"),
        ] {
            assert_eq!(mark(query, text), html, "{query}");
        }
    }

    #[test]
    fn nothing_but_marks_is_markup() {
        let sought = Sought::of("script b");
        assert_eq!(
            sought.mark("<script>\"a\"&'b'</script>"),
            "&lt;<mark>script</mark>&gt;&quot;a&quot;&amp;&#39;<mark>b</mark>&#39;&lt;/<mark>script</mark>&gt;"
        );
    }

    #[test]
    fn a_sku_is_marked_that_was_asked_for_in_one() {
        assert_eq!(Sought::of("cog1").mark_sku("COG-1"), "<mark>COG-1</mark>");
        assert_eq!(Sought::of("cog").mark_sku("COG-1"), "<mark>COG</mark>-1");
        assert_eq!(Sought::of("x").mark_sku("COG-1"), "COG-1");
    }

    #[test]
    fn an_excerpt_shows_the_first_mark_and_whole_words_around_it() {
        let text = format!("{}needle é {}", "straw ".repeat(50), "hay ".repeat(90));
        let excerpt = Sought::of("Needle").excerpt(&text).unwrap();
        assert!(excerpt.starts_with("…straw straw "), "{excerpt}");
        assert!(excerpt.contains(" <mark>needle</mark> é hay "), "{excerpt}");
        assert!(excerpt.ends_with(" hay…"), "{excerpt}");
        assert!(excerpt.chars().count() < EXCERPT + 20, "{excerpt}");
        assert_eq!(Sought::of("need").excerpt(&text), None, "a description's words count whole");
        let long = "x".repeat(5_000);
        assert_eq!(Sought::of("y").excerpt(&format!("{long} y")).unwrap().matches("mark").count(), 2);
        assert_eq!(Sought::of("ö").excerpt("ö").unwrap(), "<mark>ö</mark>");
    }

    #[test]
    fn no_text_is_cut_inside_a_letter() {
        for text in
            ["öäü ".repeat(100), "\u{2003}é".repeat(200), "日本語のテキスト".repeat(60), "½…ﬁ".repeat(99)]
        {
            for query in ["o", "é", "1", "日本", "fi", "a", "oau"] {
                let sought = Sought::of(query);
                sought.mark(&text);
                sought.excerpt(&text);
            }
        }
    }
}
