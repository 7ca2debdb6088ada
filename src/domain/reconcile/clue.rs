//! What the cells of a column say, taken together, about how the column is written.
//!
//! `1,234` alone says nothing; beside `12,50` it is a thousand times too small. So all cells are heard before the first is
//! read, and where they leave it open nobody guesses.

/// What one cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clue<S> {
    /// It can only be read this way.
    Says(S),
    /// It can be read in two ways, with different results.
    Either,
    /// It reads the same in both ways, or in none.
    Nothing,
}

/// A cell, by its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The line of the report.
    pub line: u64,
    /// What stands in the cell.
    pub cell: String,
}

/// Why the way a column is written cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// Two cells cannot be read in the same way.
    #[error("line {} has {:?}, which can only be read one way, and line {} has {:?}, which can only be read the other way", .0.line, .0.cell, .1.line, .1.cell)]
    Contradiction(Seen, Seen),
    /// Every cell that matters can be read in two ways.
    #[error("line {} has {:?}, which can be read in two ways, and no other line decides it", .0.line, .0.cell)]
    Ambiguous(Seen),
}

/// What the cells said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clues<S> {
    first: Option<(S, Seen)>,
    against: Option<Seen>,
    either: Option<Seen>,
}

impl<S> Default for Clues<S> {
    fn default() -> Self {
        Self { first: None, against: None, either: None }
    }
}

impl<S: Copy + PartialEq> Clues<S> {
    /// Hears a cell.
    pub fn hear(&mut self, clue: Clue<S>, line: u64, cell: &str) {
        let seen = || Seen { line, cell: cell.chars().take(40).collect() };
        match (clue, &self.first) {
            (Clue::Nothing, _) => {}
            (Clue::Either, _) => {
                self.either.get_or_insert_with(seen);
            }
            (Clue::Says(side), None) => self.first = Some((side, seen())),
            (Clue::Says(side), Some((first, _))) => {
                if side != *first {
                    self.against.get_or_insert_with(seen);
                }
            }
        }
    }

    /// How the column is written; `default` where it does not matter.
    ///
    /// # Errors
    /// When the cells contradict each other or leave it open.
    pub fn decide(self, default: S) -> Result<S, Undecided> {
        match (self.first, self.against, self.either) {
            (Some((_, first)), Some(against), _) => Err(Undecided::Contradiction(first, against)),
            (Some((side, _)), None, _) => Ok(side),
            (None, _, Some(either)) => Err(Undecided::Ambiguous(either)),
            (None, _, None) => Ok(default),
        }
    }
}
