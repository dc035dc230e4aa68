//! How the demo in `demo/` comes about, from tables of facts to the table of what it can do.
//!
//! Start at [`facts`]; [`make`] writes a folder with model, sets and pages by the settings in [`recipe`], [`table`] measures it.
//! Everything is drawn by a seed. Not here: the training itself, which is `circuit-train`'s.

pub mod facts;
pub mod make;
pub mod recipe;
pub mod stories;
pub mod table;
