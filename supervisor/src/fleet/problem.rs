//! Problems of a text, and their rendering with the lines that they are about.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::cell::RefCell;
use std::ops::Range;

/// Most problems that are shown in full. A hundred of one kind are understood by then.
const SHOWN: usize = 20;

/// One problem of a fleet file or a fault plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// The problem, with the name of the key.
    pub message: String,
    /// A few words beside the snippet.
    pub label: String,
    /// The next step.
    pub help: String,
    /// Another place that is involved, and a few words on it.
    pub related: Option<(Range<usize>, String)>,
}

/// The place of a problem, as editors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

impl Place {
    /// The place of a byte of a text.
    #[must_use]
    pub fn of(text: &str, byte: usize) -> Place {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The problems that are found while a text is read.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    text: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Problems {
            text,
            found: RefCell::default(),
        }
    }

    /// The text of a span.
    pub(super) fn text(&self, span: &Range<usize>) -> &'a str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    pub(super) fn add(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.borrow_mut().push(Problem {
            span,
            message: message.into(),
            label: label.into(),
            help: help.into(),
            related: None,
        });
    }

    /// Adds another place to the last problem.
    pub(super) fn relate(&self, span: Range<usize>, label: impl Into<String>) {
        if let Some(last) = self.found.borrow_mut().last_mut() {
            last.related = Some((span, label.into()));
        }
    }

    /// All problems, from the top of the file down.
    pub(super) fn finish(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| problem.span.start);
        found
    }
}

/// The problems for people, each with its line of the file.
pub(super) fn render(origin: &str, text: &str, problems: &[Problem], colour: bool) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
    .decor_style(DecorStyle::Ascii);
    let mut shown: Vec<String> = problems
        .iter()
        .take(SHOWN)
        .map(|problem| {
            let here = AnnotationKind::Primary
                .span(problem.span.clone())
                .label(problem.label.as_str());
            let there = problem.related.iter().map(|(span, label)| {
                AnnotationKind::Context
                    .span(span.clone())
                    .label(label.as_str())
            });
            let snippet = Snippet::source(text)
                .path(origin)
                .annotation(here)
                .annotations(there);
            let help = Level::HELP.message(problem.help.as_str());
            renderer.render(&[Level::ERROR
                .primary_title(problem.message.as_str())
                .element(snippet)
                .element(help)])
        })
        .collect();
    if let Some(more) = problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        shown.push(format!("and {more} more in {origin}"));
    }
    shown.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let text = "a\nüb = 1\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, 4), Place { line: 2, column: 2 });
        assert_eq!(Place::of(text, text.len()), Place { line: 3, column: 1 });
    }

    #[test]
    fn problems_beyond_the_first_screens_are_counted() {
        let problems = Problems::new("x = 1\n");
        for _ in 0..SHOWN + 3 {
            problems.add(0..1, "wrong", "this", "mend it");
        }
        let found = problems.finish();
        let shown = render("fleet.toml", "x = 1\n", &found, false);
        assert_eq!(shown.matches("error: wrong").count(), SHOWN);
        assert!(shown.ends_with("and 3 more in fleet.toml"), "{shown}");
    }

    #[test]
    fn the_snippet_names_the_same_place() {
        let problems = Problems::new("ü = 1\nxy = 2\n");
        problems.add(8..9, "wrong", "this", "mend it");
        let shown = render("fleet.toml", "ü = 1\nxy = 2\n", &problems.finish(), false);
        assert!(shown.contains("fleet.toml:2:2"), "{shown}");
        assert_eq!(
            Place::of("ü = 1\nxy = 2\n", 8),
            Place { line: 2, column: 2 }
        );
    }
}
