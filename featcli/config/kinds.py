"""The kinds of heads by name, each with the module that holds it: a new head is a file, and a line here."""

HEAD_KINDS: dict[str, str] = {
    "logistic": "featcli.heads.logistic_kind",
    "linear": "featcli.heads.linear",
    "mlp": "featcli.heads.mlp",
}
