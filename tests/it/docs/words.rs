//! The simple commands of a shell script, without running it.

/// A simple command: variables that are set for it, and its words without their quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
}

impl Line {
    /// Returns whether the line runs a program, directly or as the argument of another one. Takes away what comes
    /// before its arguments then.
    pub(super) fn take_program(&mut self, program: &str) -> bool {
        let is_wrapped = |before: &[String]| {
            let mut before = before.iter().filter(|word| !is_assignment(word));
            let first = before.next();
            first.is_none_or(|first| {
                [
                    "sudo", "exec", "time", "flock", "ssh", "env", "strace", "nice",
                ]
                .contains(&first.as_str())
            })
        };
        let at = self.words.iter().position(|word| word == program);
        match at.filter(|at| is_wrapped(&self.words[..*at])) {
            Some(at) => {
                self.words.drain(..=at);
                true
            }
            None => false,
        }
    }
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// What stands for the value of a variable or for the output of a command.
fn value(name: &str) -> &'static str {
    match name.contains("DIGEST") {
        true => DIGEST,
        false => "./value",
    }
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Returns the simple commands of a script, those of substitutions among them.
pub(super) fn lines(script: &str) -> Vec<Line> {
    let script = without_here_documents(&script.replace("\\\n", " "));
    // A digest that a page abbreviates.
    let script = script.replace("sha256:…", DIGEST).replace('…', "x");
    let mut found = Vec::new();
    let mut parser = Parser {
        rest: script.chars().collect(),
        at: 0,
    };
    while parser.peek().is_some() {
        parser.commands(&mut found);
        // A stray parenthesis ends a list of commands.
        parser.at += 1;
    }
    found
}

fn without_here_documents(script: &str) -> String {
    let (mut kept, mut end) = (String::new(), None::<String>);
    for line in script.lines() {
        match &end {
            Some(word) if line.trim() == word => end = None,
            Some(_) => {}
            None => {
                kept.push_str(line);
                kept.push('\n');
                let (_, after) = line.split_once("<<").unwrap_or_default();
                let word = after.split_whitespace().next();
                end = word.map(|word| word.trim_matches(['\'', '"', '-']).to_owned());
            }
        }
    }
    kept
}

struct Parser {
    rest: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += 1;
        next
    }

    /// Reads commands up to a closing parenthesis, which stays.
    fn commands(&mut self, found: &mut Vec<Line>) {
        let mut line = Line::default();
        let mut word: Option<String> = None;
        let end_word = |line: &mut Line, word: &mut Option<String>| line.words.extend(word.take());
        loop {
            let next = self.peek();
            match next {
                None | Some(')' | '\n' | ';' | '|' | '&') => {
                    end_word(&mut line, &mut word);
                    if !line.words.is_empty() {
                        found.push(std::mem::take(&mut line));
                    }
                    if matches!(next, None | Some(')')) {
                        return;
                    }
                    self.at += 1;
                }
                Some('(') => {
                    self.at += 1;
                    self.commands(found);
                    self.at += 1;
                }
                Some(' ' | '\t') => {
                    end_word(&mut line, &mut word);
                    self.at += 1;
                }
                Some('#') if word.is_none() => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                Some('>' | '<') => {
                    // A descriptor before it belongs to the redirection, and so does the word after it.
                    if word
                        .as_ref()
                        .is_some_and(|w| w.chars().all(|c| c.is_ascii_digit()))
                    {
                        word = None;
                    }
                    end_word(&mut line, &mut word);
                    while self
                        .peek()
                        .is_some_and(|c| matches!(c, '>' | '<' | '&' | ' '))
                    {
                        self.at += 1;
                    }
                    let mut target = Line::default();
                    self.word(&mut target, found);
                }
                Some(_) => {
                    let mut one = Line::default();
                    self.word(&mut one, found);
                    word.get_or_insert_default().push_str(&one.words.concat());
                }
            }
        }
    }

    /// Reads one word without its quotes.
    fn word(&mut self, line: &mut Line, found: &mut Vec<Line>) {
        let mut word = String::new();
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\n' | ';' | '|' | '&' | '(' | ')' | '<' | '>' => break,
                '\'' => {
                    self.at += 1;
                    while let Some(c) = self.next().filter(|c| *c != '\'') {
                        word.push(c);
                    }
                }
                '"' => {
                    self.at += 1;
                    while let Some(c) = self.peek().filter(|c| *c != '"') {
                        if c == '$' {
                            self.expansion(&mut word, found);
                        } else {
                            word.push(c);
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                }
                '\\' => {
                    self.at += 1;
                    word.extend(self.next());
                }
                '$' => self.expansion(&mut word, found),
                c => {
                    word.push(c);
                    self.at += 1;
                }
            }
        }
        line.words.push(word);
    }

    /// Reads what a dollar begins: a variable, or commands whose output stands here.
    fn expansion(&mut self, word: &mut String, found: &mut Vec<Line>) {
        self.at += 1;
        match self.peek() {
            Some('(') => {
                self.at += 1;
                self.commands(found);
                self.at += 1;
                word.push_str(value(""));
            }
            Some('{') => {
                let mut name = String::new();
                while let Some(c) = self.next().filter(|c| *c != '}') {
                    name.push(c);
                }
                word.push_str(value(&name));
            }
            _ => {
                let mut name = String::new();
                while let Some(c) = self
                    .peek()
                    .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
                {
                    name.push(c);
                    self.at += 1;
                }
                word.push_str(value(&name));
            }
        }
    }
}

#[test]
fn simple_commands_are_found_in_every_place() {
    let words = |script: &str| -> Vec<String> {
        let lines = lines(script).into_iter();
        lines.map(|line| line.words.join("|")).collect()
    };
    assert_eq!(words("a b\\\n  c; d 'e f' | g"), ["a|b|c", "d|e f", "g"]);
    assert_eq!(
        words("X=$(a \"b c\" > d) && e 2>&1"),
        ["a|b c", "X=./value", "e"]
    );
    assert_eq!(words("a \"$(b c)\" # d\n(e)"), ["b|c", "a|./value", "e"]);
    assert_eq!(words("cat > f <<'END'\nno command\nEND\na"), ["cat", "a"]);
    let mut line = lines("A=b sudo x --y").remove(0);
    assert!(line.take_program("x"));
    assert_eq!(line.words, ["--y"]);
    assert!(!lines("echo x --y").remove(0).take_program("x"));
}
