"""The calls of GitHub's REST API that the embedded forge answers, by what they are for."""
