//! TLS and proxies.

use crate::double::{
    BY_AREA, BY_ID, Double, file, mapping_text, name_of, open_with, parse, settings, source,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::Path;

const FOUND: &str = "云甲";

/// An authority, and a certificate of it for the loopback address: files `NAME.ca`, `NAME.crt`, `NAME.key`.
fn certificates(folder: &Path, name: &str) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    file(folder, &format!("{name}.ca"), &authority.pem());
    file(folder, &format!("{name}.crt"), &leaf.pem());
    file(folder, &format!("{name}.key"), &key.serialize_pem());
}

fn tls_api(folder: &Path) -> Option<Double> {
    certificates(folder, "own");
    certificates(folder, "other");
    // The plain server writes the table.
    drop(Double::api(folder)?);
    let path = |name: &str| folder.join(name).display().to_string();
    Double::start(&["api", &path("table.json"), &path("own.crt"), &path("own.key")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_counts_only_under_the_authority_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(api) = tls_api(folder.path()) else { return };
    let url = format!("https://127.0.0.1:{}", api.port);
    let open =
        |tls: &str, url: &str| open_with(&mapping_text(tls, BY_ID, BY_AREA), folder.path(), &settings(url));
    let own = open("tls = { mode = \"verify-full\", ca = { file = \"own.ca\" } }", &url);
    assert_eq!(name_of(&own, "P1").await.unwrap(), [FOUND]);
    for (tls, url) in [
        ("tls = { ca = { file = \"other.ca\" } }", url.as_str()),
        // The authorities that the machine's system trusts.
        ("", url.as_str()),
        // A name that the certificate does not carry.
        ("tls = { ca = { file = \"own.ca\" } }", &url.replace("127.0.0.1", "localhost")),
    ] {
        let error = name_of(&open(tls, url), "P1").await.unwrap_err();
        assert!(error.detail.contains("its certificate is not trusted"), "{error}");
    }
    // Speaking plainly to a server that does not.
    let plain = open("", &format!("http://127.0.0.1:{}", api.port));
    assert!(name_of(&plain, "P1").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_passes_plain_calls_and_tunnels_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tls) = tls_api(folder.path()) else { return };
    let (plain, proxy) =
        (Double::api(folder.path()).unwrap(), Double::start(&["proxy", "adapter:p@ss"]).unwrap());
    let way = "proxy = { env = \"PROXY\" }\ntls = { ca = { file = \"own.ca\" } }\nretry = { attempts = 1 }";
    let text = mapping_text(way, BY_ID, BY_AREA);
    let told = text.replace("tls = { ca = { file = \"own.ca\" } }", "tls = { mode = \"off\" }");
    let with = |url: &str, proxy: &str| {
        let mut settings = settings(url);
        settings.vars.insert("PROXY".to_owned(), proxy.to_owned());
        settings
    };
    let open = |url: &str, proxy: &str| {
        let text = if url.starts_with("https") { &text } else { &told };
        open_with(text, folder.path(), &with(url, proxy))
    };
    let right = format!("http://adapter:p%40ss@127.0.0.1:{}", proxy.port);
    let wrong = format!("http://adapter:hunter2@127.0.0.1:{}", proxy.port);
    let tls_url = format!("https://127.0.0.1:{}", tls.port);
    assert_eq!(name_of(&open(&plain.url(), &right), "P1").await.unwrap(), [FOUND]);
    assert_eq!(name_of(&open(&tls_url, &right), "P1").await.unwrap(), [FOUND]);
    // An address of this machine is none behind a proxy.
    let untold = source(&parse(&text, folder.path()), &with(&plain.url(), &right));
    let error = untold.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("a proxy would read credentials"), "{error}");
    let lines = proxy.lines();
    assert_eq!(
        lines,
        [
            format!("POST {}/v1/people/search HTTP/1.1", plain.url()),
            format!("CONNECT 127.0.0.1:{} HTTP/1.1", tls.port),
        ]
    );
    // The proxy's password is the proxy's: the API never sees it.
    assert!(plain.log().iter().all(|entry| entry["proxy_authorization"] == ""));
    for url in [plain.url(), tls_url] {
        let error = name_of(&open(&url, &wrong), "P1").await.unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let down = open(&plain.url(), "http://127.0.0.1:9");
    assert!(name_of(&down, "P1").await.unwrap_err().detail.contains("no connection"));
}
