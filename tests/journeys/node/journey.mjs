// The calls that users of openai-node make. Prints one JSON object; the test in Python judges it.
// Environment: ROOT, KEY, KROUTER_KEY, POOR_KEY.
import OpenAI from "openai";

const { ROOT, KEY, KROUTER_KEY, POOR_KEY } = process.env;
const messages = [{ role: "user", content: "Where is the harbour? [[mock tokens=12]]" }];
const client = (path, apiKey) => new OpenAI({ baseURL: ROOT + path, apiKey, maxRetries: 0, timeout: 60000 });

async function failure(call) {
  try {
    await call();
    return { name: "none" };
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code };
  }
}

async function streamed(of, model) {
  const stream = await of.chat.completions.create({
    model, messages, stream: true, stream_options: { include_usage: true },
  });
  const told = { text: "", finish: [], usage: null, id: null };
  for await (const chunk of stream) {
    told.id = chunk.id;
    told.text += chunk.choices[0]?.delta?.content ?? "";
    if (chunk.choices[0]?.finish_reason) told.finish.push(chunk.choices[0].finish_reason);
    if (chunk.usage) told.usage = chunk.usage;
  }
  return told;
}

async function surface(path, key, model) {
  const of = client(path, key);
  const { data, response } = await of.chat.completions.create({ model, messages }).withResponse();
  const listed = await of.models.list();
  return {
    json: { id: data.id, model: data.model, text: data.choices[0].message.content, usage: data.usage },
    requestId: response.headers.get("x-request-id"),
    stream: await streamed(of, model),
    listed: listed.data.length,
    retrieved: (await of.models.retrieve("openai/gpt-4o")).id,
    wrongKey: await failure(() => client(path, "sk-br-v1-wrong").chat.completions.create({ model, messages })),
    unknownModel: await failure(() => of.chat.completions.create({ model: "openai/gpt-99", messages })),
    noCredit: await failure(() => client(path, POOR_KEY).chat.completions.create({ model, messages })),
  };
}

// The price arithmetic as the documentation prints it: prices are numbers.
async function price(usage) {
  const answer = await fetch(`${ROOT}/api/v1/models`, { headers: { "X-API-Key": KEY } });
  const model = (await answer.json()).models.find((m) => m.id === "openai/gpt-4o");
  const inputCost = (usage.prompt_tokens / 1_000_000) * model.input_price_per_1m_krw;
  const outputCost = (usage.completion_tokens / 1_000_000) * model.output_price_per_1m_krw;
  return inputCost + outputCost;
}

const bizrouter = await surface("/api/v1", KEY, "openai/gpt-4o");
const krouter = await surface("/v1", KROUTER_KEY, "kr/gpt4o");
console.log(JSON.stringify({ bizrouter, krouter, price: await price(bizrouter.json.usage) }));
