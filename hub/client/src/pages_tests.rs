use super::*;
use bytes::Bytes;
use std::sync::Mutex;
use yiwang_proto::sha256;

type Came = Result<BatchPage, BatchError>;

/// A provider of so many pages. What it was asked is kept; `bend` may change what a page came to, by its number among the
/// requests, from 0.
#[derive(Clone)]
struct Town {
    pages: u32,
    asked: Arc<Mutex<Vec<(u32, bool)>>>,
    bend: Arc<dyn Fn(usize, Came) -> Came + Send + Sync>,
    /// It does not know the page before.
    forgets: bool,
}

fn token(number: u32) -> String {
    format!("token-{number}")
}

impl Town {
    fn new(pages: u32) -> Self {
        Self::bent(pages, |_, came| came)
    }

    fn bent(pages: u32, bend: impl Fn(usize, Came) -> Came + Send + Sync + 'static) -> Self {
        Self { pages, asked: Arc::default(), bend: Arc::new(bend), forgets: false }
    }

    fn pages(&self, resume: &str, most: Option<u64>) -> Pages {
        Pages::of(Box::new(self.clone()), resume.to_owned(), most)
    }

    fn came(&self, number: u32) -> Came {
        let rows = u32::from(number < self.pages);
        let resume = if number + 1 < self.pages { token(number + 1) } else { String::new() };
        let follows = (number > 0 && rows > 0).then(|| sha256(token(number).as_bytes()));
        let records = Bytes::from(format!("[{number}]"));
        Ok(BatchPage { records, rows, withheld: Vec::new(), entry: number.into(), resume, follows })
    }

    fn asked(&self) -> Vec<(u32, bool)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Asks for Town {
    fn ask<'a>(&'a self, after: After<'a>) -> Asking<'a> {
        let (number, ahead) = match after {
            After::Nothing => (0, false),
            After::Token(token) => (token.trim_start_matches("token-").parse().unwrap(), false),
            After::Request(digest) => (u32::from(digest[0]) + 1, true),
        };
        let mut asked = self.asked.lock().unwrap();
        asked.push((number, ahead));
        let came = if ahead && self.forgets { busy() } else { self.came(number) };
        let came = (self.bend)(asked.len() - 1, came);
        let mut request = [0; 32];
        request[0] = u8::try_from(number).unwrap();
        let slowly = || tokio::time::sleep(std::time::Duration::from_millis(5));
        let page = AbortOnDropHandle::new(tokio::spawn(async move {
            slowly().await;
            came
        }));
        Box::pin(async move {
            // As one that must look up whom a sealed body is for.
            if number > 3 {
                slowly().await;
            }
            Ok(Asked { request, ahead, page })
        })
    }
}

/// Numbers of the pages that came, and how it ended.
async fn all(mut pages: Pages) -> (Vec<u64>, Option<String>) {
    let mut numbers = Vec::new();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => numbers.push(page.entry),
            Err(error) => {
                assert!(pages.next().await.is_none(), "after an error there are no more");
                return (numbers, Some(error.to_string()));
            }
        }
    }
    assert!(pages.next().await.is_none());
    (numbers, None)
}

fn busy() -> Came {
    Err(BatchError::Refused { code: "provider_busy".to_owned(), clause: String::new(), entry: 0 })
}

fn broken() -> Came {
    Err(ClientError::unverified("a forged receipt").into())
}

#[tokio::test]
async fn pages_come_in_order_and_few_are_asked_for_in_vain() {
    for (pages, in_vain) in [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3), (6, 3), (9, 3)] {
        let town = Town::new(pages);
        assert_eq!(all(town.pages("", None)).await, ((0..u64::from(pages)).collect(), None), "{pages}");
        let asked = town.asked();
        let numbers: Vec<u32> = asked.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..pages + in_vain).collect::<Vec<_>>(), "each once");
        let ahead = asked.iter().map(|(_, ahead)| *ahead).collect::<Vec<_>>();
        // The first by nothing, the second and the third by their tokens, the rest by the request before.
        let expected: Vec<bool> = (0..pages + in_vain).map(|number| number > 2).collect();
        assert_eq!(ahead, expected, "{pages}");
    }
    let town = Town::new(9);
    assert_eq!(all(town.pages(&token(4), None)).await.0, [4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn no_more_are_asked_for_than_are_wanted() {
    for most in 0..6 {
        let town = Town::new(9);
        assert_eq!(all(town.pages("", Some(most))).await, ((0..most).collect(), None));
        assert_eq!(town.asked().len() as u64, most);
    }
    // A page that was asked for ahead and did not come is asked for again, within what is wanted.
    let town = Town::bent(9, |number, came| if number == 3 { busy() } else { came });
    assert_eq!(all(town.pages("", Some(6))).await, ((0..6).collect(), None));
}

#[tokio::test]
async fn a_page_that_failed_takes_those_after_it_with_it() {
    for failing in 3..8 {
        let town = Town::bent(9, move |number, came| if number == failing { busy() } else { came });
        assert_eq!(all(town.pages("", None)).await, ((0..9).collect(), None), "{failing}");
        let asked = town.asked();
        let again = asked.iter().skip(failing + 1).position(|one| *one == (failing as u32, false));
        assert!(again.is_some(), "by its token: {asked:?}");
        let rest = &asked[failing + 1 + again.unwrap()..];
        assert!(rest.iter().take(4).all(|(_, ahead)| !ahead), "and those after it too: {asked:?}");
        assert!(rest.len() < 5 || rest.iter().any(|(_, ahead)| *ahead), "but not for ever: {asked:?}");
    }
    // Where none that is asked for ahead comes, each try is half as far, and then there are no more.
    let forgetful = Town { forgets: true, ..Town::new(60) };
    assert_eq!(all(forgetful.pages("", None)).await, ((0..60).collect(), None));
    let asked = forgetful.asked();
    let in_vain = asked.iter().filter(|(_, ahead)| *ahead).count();
    assert!((1..2 * AHEAD).contains(&in_vain), "{asked:?}");
    assert!(asked[20..].iter().all(|(_, ahead)| !ahead), "{asked:?}");
    // Now and then one does not come in a long batch: it goes on ahead all the same.
    let fails = |number, came| if [20, 60, 100].contains(&number) { busy() } else { came };
    let long = Town::bent(250, fails);
    assert_eq!(all(long.pages("", None)).await, ((0..250).collect(), None));
    let asked = long.asked();
    assert!(asked[104..140].iter().all(|(_, ahead)| !ahead), "{asked:?}");
    assert!(asked[180..].iter().filter(|(_, ahead)| *ahead).count() > 60, "{asked:?}");
    // What fails by itself is the caller's to try again.
    for failing in 0..2 {
        let town = Town::bent(9, move |number, came| if number >= failing { busy() } else { came });
        let (numbers, error) = all(town.pages("", None)).await;
        assert_eq!(numbers, (0..failing as u64).collect::<Vec<_>>());
        assert!(error.unwrap().contains("provider_busy"));
    }
}

#[tokio::test]
async fn a_broken_proof_ends_it_wherever_it_shows() {
    for at in 0..10 {
        let town = Town::bent(9, move |number, came| if number == at { broken() } else { came });
        let (numbers, error) = all(town.pages("", None)).await;
        assert_eq!(numbers, (0..(at as u64).min(9)).collect::<Vec<_>>());
        assert!(error.unwrap().contains("a forged receipt"), "{at}");
    }
    // Also behind a page that merely failed.
    let town = Town::bent(9, |number, came| match number {
        3 => busy(),
        4 => broken(),
        _ => came,
    });
    assert_eq!(all(town.pages("", None)).await.0, [0, 1, 2]);
}

#[tokio::test]
async fn a_page_after_another_page_is_none_of_this_batch() {
    let of = |change: fn(&mut BatchPage)| {
        move |number, mut came: Came| {
            if number == 4 {
                came.as_mut().map(change).unwrap();
            }
            came
        }
    };
    let changes: [fn(&mut BatchPage); 3] =
        [|page| page.follows = Some([7; 32]), |page| page.follows = None, |page| page.resume = token(4)];
    for change in changes {
        let (numbers, error) = all(Town::bent(9, of(change)).pages("", None)).await;
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert!(error.unwrap().contains("provider"));
    }
    // By its token, a provider of before says nothing, and is believed; who says something else is not.
    let old = |number, mut came: Came| {
        if number == 1 {
            came.as_mut().unwrap().follows = None;
        }
        came
    };
    assert_eq!(all(Town::bent(2, old).pages("", None)).await, (vec![0, 1], None));
    // Rows behind the last page: somebody keeps some back.
    let more = |number, mut came: Came| {
        if number == 4 {
            came.as_mut().unwrap().rows = 1;
        }
        came
    };
    let (numbers, error) = all(Town::bent(4, more).pages("", None)).await;
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert!(error.unwrap().contains("behind the page that it called the last"));
}

#[tokio::test]
async fn a_call_that_is_given_up_loses_no_page_silently() {
    // At every moment of it: before the page has come, and while the next ones are asked for.
    for waits in 0..120 {
        let town = Town::new(9);
        let mut pages = town.pages("", None);
        for number in 0..3 {
            assert_eq!(pages.next().await.unwrap().unwrap().entry, number);
        }
        let soon = std::time::Duration::from_micros(waits * 100);
        match tokio::time::timeout(soon, pages.next()).await {
            Ok(page) => assert_eq!(page.unwrap().unwrap().entry, 3),
            Err(_) => assert!(pages.next().await.is_none(), "and not the page after the next"),
        }
    }
}

#[tokio::test]
async fn who_finishes_asks_for_nothing_and_hears_what_speaks_against_the_last_page() {
    let town = Town::new(5);
    town.pages("", None).finish().await.unwrap();
    assert!(town.asked().is_empty());
    for (pages, broken_at) in [(4, None), (4, Some(4))] {
        let town =
            Town::bent(pages, move |number, came| if Some(number) == broken_at { broken() } else { came });
        let mut given = town.pages("", None);
        for _ in 0..pages {
            given.next().await.unwrap().unwrap();
        }
        assert_eq!(given.finish().await.is_err(), broken_at.is_some());
    }
}
