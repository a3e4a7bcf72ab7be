"""A function that says which version of it answers."""


def answer(event, context):
    print("asked for", event["what"])
    return {"code": "one", "version": context.function_version}
