//! The screen for terminals and fonts that know ASCII only.

use ratatui::buffer::Buffer;

/// Puts an ASCII character in place of every other one.
pub fn only(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let symbol = cell.symbol();
        if !symbol.is_ascii() {
            cell.set_char(symbol.chars().next().map_or(' ', of));
        }
    }
}

fn of(c: char) -> char {
    match c {
        'µ' | 'μ' => 'u',
        '…' => '~',
        '↑' => '^',
        '↓' => 'v',
        '→' => '>',
        '←' => '<',
        '↔' | '–' | '—' | '─' => '-',
        '×' => 'x',
        '▸' => '+',
        '▾' => '-',
        '·' => '|',
        '│' | '▏' => '|',
        '┌' | '┐' | '└' | '┘' => '+',
        '█' | '▉' | '▊' | '▋' | '▌' => '#',
        '▍' | '▎' => '-',
        '▁' => '_',
        '▂' => '.',
        '▃' => ':',
        '▄' => '-',
        '▅' => '=',
        '▆' => '+',
        '▇' => '*',
        _ => '?',
    }
}
