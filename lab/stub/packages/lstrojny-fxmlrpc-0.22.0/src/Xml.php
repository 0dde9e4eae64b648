<?php
namespace fXmlRpc;

/** The part of XML-RPC that supervisord speaks. */
class Xml
{
    public static function request($method, array $params)
    {
        $xml = '<?xml version="1.0" encoding="UTF-8"?><methodCall><methodName>' . $method . '</methodName><params>';
        foreach ($params as $param) {
            $xml .= '<param><value>' . self::encode($param) . '</value></param>';
        }
        return $xml . '</params></methodCall>';
    }

    private static function encode($value)
    {
        if (is_bool($value)) {
            return '<boolean>' . (int)$value . '</boolean>';
        }
        if (is_int($value)) {
            return '<int>' . $value . '</int>';
        }
        return '<string>' . htmlspecialchars((string)$value, ENT_XML1) . '</string>';
    }

    /** @return array is it a fault, and the value */
    public static function response($text)
    {
        $xml = @simplexml_load_string($text);
        if ($xml === false) {
            throw new Exception\ParserException('Could not parse the response of the XML-RPC server.');
        }
        if (isset($xml->fault)) {
            return array(true, self::decode($xml->fault->value));
        }
        return array(false, self::decode($xml->params->param->value));
    }

    private static function decode(\SimpleXMLElement $value)
    {
        foreach ($value->children() as $type => $inner) {
            switch ($type) {
                case 'int':
                case 'i4':
                    return (int)$inner;
                case 'boolean':
                    return (string)$inner === '1';
                case 'double':
                    return (float)$inner;
                case 'array':
                    return self::decodeList($inner);
                case 'struct':
                    return self::decodeStruct($inner);
                default:
                    return (string)$inner;
            }
        }
        return (string)$value;
    }

    private static function decodeList(\SimpleXMLElement $array)
    {
        $list = array();
        foreach ($array->data->value as $value) {
            $list[] = self::decode($value);
        }
        return $list;
    }

    private static function decodeStruct(\SimpleXMLElement $struct)
    {
        $fields = array();
        foreach ($struct->member as $member) {
            $fields[(string)$member->name] = self::decode($member->value);
        }
        return $fields;
    }
}
