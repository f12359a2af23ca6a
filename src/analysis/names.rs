//! Long function and file names cut to what tells them apart.
//!
//! For people's eyes only: JSON and the trace keep the full names. Widths are in cells of a terminal.

use unicode_width::UnicodeWidthChar;

/// A demangled C++, Rust or C name without function arguments, with template arguments as `<…>`,
/// without compilers' clone suffixes and hashes.
pub fn short_function(name: &str) -> String {
    let name = strip_suffixes(name.trim());
    let name = match rust_impl(name) {
        Some((of, rest)) => format!("{}{rest}", short_function(of)),
        None => name.to_owned(),
    };
    let mut out = String::with_capacity(name.len());
    let mut depth = 0usize;
    let chars: Vec<char> = name.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if depth == 0 && out.ends_with("operator") && matches!(c, '<' | '>' | '(' | '-') {
            // The name of the operator itself: `<`, `<<`, `<=`, `<=>`, `->`, `()`.
            if c == '(' {
                out.push_str("()");
                at = skip_group(&chars, at);
                continue;
            }
            while at < chars.len() && matches!(chars[at], '<' | '>' | '=' | '-') {
                out.push(chars[at]);
                at += 1;
            }
            continue;
        }
        match c {
            '{' if depth == 0 => {
                let end = skip_group(&chars, at);
                out.push_str(&braces(&chars[at..end]));
                at = end;
                continue;
            }
            '<' | '(' | '[' => {
                if depth == 0 {
                    if c == '(' && out.ends_with('.') && chars.get(at + 1) == Some(&'*') {
                        // Go's receivers: `sync.(*Mutex).Unlock`.
                        let end = skip_group(&chars, at);
                        out.extend(&chars[at..end]);
                        at = end;
                        continue;
                    }
                    if c == '(' && !is_anonymous(&chars[at..]) {
                        // Arguments end the name, but a local class's method goes on: `f(int)::g`.
                        at = skip_qualifiers(&chars, skip_group(&chars, at));
                        if chars.get(at) != Some(&':') {
                            break;
                        }
                        continue;
                    }
                    if c == '<' {
                        at = skip_group(&chars, at);
                        // A turbofish and a plain list look the same.
                        if out.ends_with("::") {
                            out.truncate(out.len() - 2);
                        }
                        out.push_str("<…>");
                        continue;
                    }
                }
                depth += 1;
                out.push(c);
            }
            '>' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                out.push(c);
            }
            _ => out.push(c),
        }
        at += 1;
    }
    if out.contains('{') {
        out = out.replace("{{closure}}", "{closure}").replace("{closure#0}", "{closure}");
    }
    // A lambda's call operator is the lambda.
    if out.ends_with("}::operator()") {
        out.truncate(out.len() - "::operator()".len());
    }
    without_return_type(out.trim()).to_owned()
}

/// `{lambda(int, char)#2}` → `{lambda#2}`: a part of the name, with its number and without its arguments.
fn braces(group: &[char]) -> String {
    let text: String = group.iter().collect();
    match (text.split_once('('), text.rsplit_once(')')) {
        (Some((head, _)), Some((_, tail))) if head == "{lambda" => format!("{head}{tail}"),
        _ => text,
    }
}

/// `(anonymous namespace)` and `(anonymous class)` are part of a name.
fn is_anonymous(chars: &[char]) -> bool {
    chars.iter().take(10).collect::<String>() == "(anonymous"
}

/// The position after what qualifies a local function: `f() const::g`.
fn skip_qualifiers(chars: &[char], at: usize) -> usize {
    let words = [" const", " volatile", " &&", " &"].map(|word| word.chars().collect::<Vec<_>>());
    let mut at = at;
    while let Some(word) = words.iter().find(|word| chars[at..].starts_with(word)) {
        at += word.len();
    }
    at
}

/// The position after the group that opens at `at`.
fn skip_group(chars: &[char], at: usize) -> usize {
    let mut depth = 0usize;
    let mut last = ' ';
    for (offset, c) in chars[at..].iter().enumerate() {
        match c {
            '<' | '(' | '[' | '{' => depth += 1,
            // The arrow of a function type closes nothing.
            '>' if last == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        last = *c;
        if depth == 0 {
            return at + offset + 1;
        }
    }
    chars.len()
}

/// Splits Rust's `<T as Trait>::f` and `<T>::f` into `T` and `::f`.
fn rust_impl(name: &str) -> Option<(&str, &str)> {
    if !name.starts_with('<') {
        return None;
    }
    let chars: Vec<char> = name.chars().collect();
    let end = skip_group(&chars, 0);
    let inside: usize = chars[1..end.saturating_sub(1).max(1)].iter().map(|c| c.len_utf8()).sum();
    let rest = name.get(inside + 2..)?;
    if !rest.starts_with("::") {
        return None;
    }
    let of = &name[1..=inside];
    Some((of.split(" as ").next().unwrap_or(of), rest))
}

/// Takes off `.constprop.0`, ` [clone .isra.0]`, `[abi:cxx11]`, `::h0123456789abcdef` and ` const`.
fn strip_suffixes(name: &str) -> &str {
    let mut name = name;
    // Most names have no such part, and looking for one letter is much cheaper.
    let (cloned, dotted) = (name.contains('['), name.contains('.'));
    if cloned && let Some(at) = name.find(" [clone") {
        name = &name[..at];
    }
    for part in [".constprop.", ".isra.", ".part.", ".cold", ".llvm.", ".lto_priv."].into_iter().filter(|_| dotted) {
        if let Some(at) = name.find(part).filter(|at| *at > 0) {
            name = &name[..at];
        }
    }
    if let Some((head, hash)) = name.rsplit_once("::h")
        && hash.len() == 16
        && hash.bytes().all(|b| b.is_ascii_hexdigit())
    {
        name = head;
    }
    name.strip_suffix(" const").unwrap_or(name)
}

/// C++ demanglers write the return type before template functions: `void run<…>`.
fn without_return_type(name: &str) -> &str {
    if name.contains("operator") || name.starts_with('(') {
        return name;
    }
    match name.rsplit_once(' ') {
        // `(anonymous namespace)::f`, `{lambda()#1}` and `f::{closure env 0}` hold a blank of their own.
        Some((_, last)) if !last.contains([')', '}']) || last.contains('(') => last,
        _ => name,
    }
}

/// Cells of a terminal that a text without control characters fills.
pub fn columns(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// Cells that a character fills: two for wide ones of East Asia, none for marks on another. A terminal shows something
/// for a control character, whatever it is.
pub fn cells(c: char) -> usize {
    c.width().unwrap_or(1)
}

/// `text` with blanks after it up to `width` columns.
pub fn pad_end(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// `text` with blanks before it up to `width` columns.
pub fn pad_start(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}

/// `text` in at most `width` columns. What is cut is at the front: the end of a path tells more.
pub fn fit_end(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut from = text.len();
    let mut used = 1;
    for (at, c) in text.char_indices().rev() {
        used += cells(c);
        if used > width {
            break;
        }
        from = at;
    }
    let tail = &text[from..];
    // Begin at a whole component where one is near.
    let whole = tail.find("::").map(|at| at + 2).filter(|at| *at < tail.len() / 3);
    format!("…{}", &tail[whole.unwrap_or(0)..])
}

/// `text` in at most `width` columns, cut at the end.
pub fn fit_start(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |(_, c): &(usize, char)| {
        used += cells(*c);
        used <= width
    };
    let end = text.char_indices().take_while(fits).last().map_or(0, |(at, c)| at + c.len_utf8());
    format!("{}…", &text[..end])
}

/// The file's name without its folders.
pub fn short_file(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_shortened() {
        for (long, want) in [
            ("main", "main"),
            ("worker(void*)", "worker"),
            ("Cache<std::string, std::shared_ptr<Entry> >::lookup(std::string const&) const", "Cache<…>::lookup"),
            ("void run<std::mutex>(std::mutex&)", "run<…>"),
            ("(anonymous namespace)::worker(int)", "(anonymous namespace)::worker"),
            ("operator<<(std::ostream&, int)", "operator<<"),
            ("Foo::operator()(int) const", "Foo::operator()"),
            ("Foo::operator->()", "Foo::operator->"),
            ("bool operator< <int>(A<int>, A<int>)", "bool operator< <…>"),
            ("server::journal::append::h0123456789abcdef", "server::journal::append"),
            ("<server::Journal as std::io::Write>::write", "server::Journal::write"),
            ("<server::Pool<T>>::get", "server::Pool<…>::get"),
            ("Pool::Pool(int, int)::{lambda()#2}::operator()", "Pool::Pool::{lambda#2}"),
            ("main::{lambda(int, char)#1}::operator()(int, char) const", "main::{lambda#1}"),
            (
                "f()::{lambda()#1}::operator()() const::{lambda()#3}::operator()",
                "f::{lambda#1}::operator()::{lambda#3}",
            ),
            ("(anonymous namespace)::Journal::append", "(anonymous namespace)::Journal::append"),
            ("server::run::{{closure}}", "server::run::{closure}"),
            ("core::ops::function::FnOnce::call_once::<fn() -> i32>", "core::ops::function::FnOnce::call_once<…>"),
            ("flush.constprop.0", "flush"),
            ("outer(int)::inner(long)", "outer::inner"),
            ("sync.(*RWMutex).Unlock", "sync.(*RWMutex).Unlock"),
            ("main.(*cache).put.func1", "main.(*cache).put.func1"),
            ("main.(*", "main.(*"),
            ("", ""),
            ("<", "<…>"),
            ("a<b", "a<…>"),
            ("ü<ä>(ö)", "ü<…>"),
        ] {
            assert_eq!(short_function(long), want, "{long}");
        }
    }

    #[test]
    fn cutting_keeps_whole_components() {
        assert_eq!(fit_end("alpha::beta::gamma", 14), "…beta::gamma");
        assert_eq!(fit_end("short", 14), "short");
        assert_eq!(fit_start("abcdef", 4), "abc…");
        assert_eq!((fit_start("日本語ロック", 5), fit_end("日本語ロック", 6)), ("日本…".into(), "…ック".into()));
        assert_eq!((columns("größe"), columns("日本"), columns("e\u{301}")), (5, 4, 1));
        assert_eq!((pad_end("日", 3), pad_start("日", 3)), ("日 ".into(), " 日".into()));
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_shortened_without_a_panic(name in ".{0,40}", width in 1usize..20) {
            let short = short_function(&name);
            proptest::prop_assert!(columns(&fit_end(&short, width)) <= width && columns(&fit_start(&short, width)) <= width);
        }
    }
}
