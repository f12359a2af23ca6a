//! C, C++ and Rust source text as tokens, as far as naming a lock needs it.
//!
//! No preprocessor and no grammar: words, literals and punctuation with their places. Comments and
//! white space are dropped.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier or keyword.
    Word,
    /// A number, string or character.
    Literal,
    /// Punctuation: `->` and `::` are one token, everything else one character.
    Punctuation,
}

/// A token and its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its characters.
    pub text: &'a str,
    /// Its first byte in the text.
    pub start: usize,
}

impl Token<'_> {
    /// The byte after its last one.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this punctuation or word.
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Literal && self.text == text
    }
}

/// The tokens of a text. A comment or literal that the text cuts off ends with the text.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = if first.is_whitespace() {
            (None, first.len_utf8())
        } else if rest.starts_with("//") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (None, rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if is_word(first) && !first.is_ascii_digit() {
            (Some(Kind::Word), rest.find(|c| !is_word(c)).unwrap_or(rest.len()))
        } else if first.is_ascii_digit() {
            let part = |c: char| is_word(c) || c == '.' || c == '\'';
            (Some(Kind::Literal), rest.find(|c| !part(c)).unwrap_or(rest.len()))
        } else if first == '"' || first == '\'' {
            (Some(Kind::Literal), literal(rest, first))
        } else if rest.starts_with("->") || rest.starts_with("::") {
            (Some(Kind::Punctuation), 2)
        } else {
            (Some(Kind::Punctuation), first.len_utf8())
        };
        if let Some(kind) = kind {
            found.push(Token { kind, text: &rest[..length], start: at });
        }
        at += length;
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of a quoted literal, quotes included.
fn literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            // A lifetime of Rust, or a literal that is not closed on its line.
            '\n' => return at,
            _ => {}
        }
    }
    text.len()
}

/// The position of the bracket that closes the one at `open`.
pub fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let (left, right) = match tokens.get(open)?.text {
        "(" => ("(", ")"),
        "[" => ("[", "]"),
        "{" => ("{", "}"),
        "<" => ("<", ">"),
        _ => return None,
    };
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.is(left) {
            depth += 1;
        } else if token.is(right) {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        } else if left == "<" && (token.is(";") || token.is("{")) {
            // A comparison, not template arguments.
            return None;
        }
    }
    None
}

/// The arguments between an opening bracket and the one that closes it.
pub fn arguments<'t, 'a>(tokens: &'t [Token<'a>], open: usize) -> Option<Vec<&'t [Token<'a>]>> {
    let close = closing(tokens, open)?;
    let mut found = Vec::new();
    let (mut from, mut at) = (open + 1, open + 1);
    while at < close {
        if tokens[at].is(",") {
            found.push(&tokens[from..at]);
            from = at + 1;
        } else if matches!(tokens[at].text, "(" | "[" | "{") && tokens[at].kind == Kind::Punctuation {
            at = closing(tokens, at)?;
        }
        at += 1;
    }
    if from < close {
        found.push(&tokens[from..close]);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|token| token.text).collect()
    }

    #[test]
    fn words_literals_punctuation() {
        assert_eq!(texts("a->b::c[0x1f]"), ["a", "->", "b", "::", "c", "[", "0x1f", "]"]);
        assert_eq!(texts("f(\"a) \\\" b\", ')') // end"), ["f", "(", "\"a) \\\" b\"", ",", "')'", ")"]);
        assert_eq!(texts("a /* b\n */ c /* cut"), ["a", "c"]);
        assert_eq!(texts("größe.mu"), ["größe", ".", "mu"]);
        assert_eq!(texts("\"open"), ["\"open"]);
        assert_eq!(texts(""), [""; 0]);
    }

    #[test]
    fn arguments_at_their_level_only() {
        let tokens = tokens("f(a, g(b, c), d[1, 2], {e, f})");
        let found = arguments(&tokens, 1).expect("closed");
        assert_eq!(found.len(), 4);
        assert_eq!(found[1].len(), 6);
        assert_eq!(arguments(&tokens[..4], 1), None);
    }
}
