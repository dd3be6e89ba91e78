//! Searches in pages: the rows that somebody looked for, a few pages at most. A page begins where a token says, which is
//! sealed for the question as well; nothing is kept between two pages, and none is asked for before the one before it came.

use super::{Handed, Handing, Named, RESUME, ResumeError, Whole, keys_of, named_in, refused, take};
use crate::adapter::Adapter;
use crate::fetch::{AnswerError, Ask, Mapped, MappedSource};
use crate::mapping::OperationKind;
use yiwang_proto::Digest;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Method;
use yiwang_proto::ids::Operation;
use yiwang_proto::request::Request;

/// Whether an operation under a contract of that method is a search that has pages.
pub(crate) fn is_paged_search(source: &MappedSource, name: &Operation, method: Method) -> bool {
    let found = source.mapping().operation(name);
    method == Method::Query
        && found.is_some_and(|found| found.kind == OperationKind::Search && found.page.is_some())
}

impl Whole {
    /// Narrowed to what a search is asked with.
    fn about(mut self, subject: &str, arguments: &Arguments) -> Self {
        let mut bytes = self.asked.to_vec();
        bytes.extend_from_slice(subject.as_bytes());
        bytes.push(0);
        // A map of scalars always serialises, and in the order of its names.
        bytes.extend(serde_json::to_vec(arguments).unwrap_or_default());
        self.asked = yiwang_proto::sha256(&bytes);
        self
    }
}

impl Adapter {
    /// One page of a search: opens what the request names, fetches, and seals where the next one begins.
    pub(crate) async fn search_page(
        &self,
        source: &MappedSource,
        ask: Ask<'_>,
        request: &Request,
        digest: Digest,
    ) -> Result<(Mapped, Handed), AnswerError> {
        let operation = source.paged(ask.operation, OperationKind::Search)?;
        let (key, most) = (self.tag_key.resume_key(), operation.1.most);
        let mut arguments = ask.arguments.clone();
        let resume = take(&mut arguments, RESUME);
        let named = [request.app.as_str(), request.case.as_str(), request.operation.as_str()];
        let keys = keys_of(source.mapping(), ask.operation);
        let whole = Whole::of(&request.contract_digest, named, ask.fields, keys);
        let whole = whole.about(ask.subject, &arguments);
        let begin = match named_in([resume, None], &key, &whole).map_err(refused)? {
            Named::Here(begin) if begin.pages < most => begin,
            Named::Here(_) => return Err(refused(ResumeError::Over)),
            Named::After(_) => return Err(refused(ResumeError::Unknown)),
        };
        let ask = Ask { arguments: &arguments, ..ask };
        let asked_us = self.clock.monotonic_us();
        let handing = Handing { key, whole, pages: begin.pages.saturating_add(1), most, before: digest };
        let came = async {
            let page = source.page(ask, operation, begin.after).await?;
            let (mapped, end) = page.write()?;
            Ok((mapped, handing.seal(end.next, self.entropy.as_ref())?.1))
        };
        let came: Result<_, AnswerError> = came.await;
        let took_us = self.clock.monotonic_us().saturating_sub(asked_us);
        // What is wrong with an argument says nothing of the source.
        if !came.as_ref().is_err_and(|error| error.code == Code::ArgumentInvalid) {
            source.note(&request.operation, took_us, self.now_ms(), came.as_ref().err());
        }
        let (mapped, resume) = came?;
        Ok((mapped, Handed { tags: Vec::new(), resume, follows: begin.token }))
    }
}
