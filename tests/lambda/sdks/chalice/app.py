"""A function that says which version of it answers."""

from chalice import Chalice

app = Chalice(app_name="canary")


@app.lambda_function(name="answer")
def answer(event, context):
    print("asked for", event["what"])
    return {"code": "one", "version": context.function_version}
