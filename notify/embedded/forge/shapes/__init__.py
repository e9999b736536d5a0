"""
What the embedded forge says, in GitHub's shapes: complete by its REST description and its webhook schemas.

Source: GitHub's REST API description and webhook schemas, as published in the npm packages ``@octokit/openapi`` 23.0.2
and ``@octokit/webhooks-schemas``; tests/embedded/forge holds these shapes against both.
"""
