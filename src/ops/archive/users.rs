//! Names and numbers of users and groups, as `/etc/passwd` and `/etc/group` have them. Another machine may have given `portico`
//! another number.

use std::collections::HashMap;
use std::path::Path;

/// Both ways.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<String, u32>,
    names: HashMap<u32, String>,
}

impl Names {
    /// A file that cannot be read has no names.
    pub fn read(file: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(file).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut names = Self::default();
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(number)) = (fields.next(), fields.nth(1).and_then(|number| number.parse().ok())) else {
                continue;
            };
            names.numbers.entry(name.to_owned()).or_insert(number);
            names.names.entry(number).or_insert(name.to_owned());
        }
        names
    }

    pub fn name(&self, number: u32) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }

    /// The number of that name here, else the number it had there.
    pub fn number(&self, name: Option<&str>, there: u32) -> u32 {
        name.and_then(|name| self.numbers.get(name)).copied().unwrap_or(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_win_over_numbers_of_another_machine() {
        let names = Names::parse("root:x:0:0::/:/bin/sh\nportico:x:991:990::/:/x\nbroken\n:x:y\n");
        assert_eq!((names.name(991), names.name(5)), (Some("portico"), None));
        assert_eq!((names.number(Some("portico"), 7), names.number(Some("gone"), 7), names.number(None, 8)), (991, 7, 8));
    }
}
